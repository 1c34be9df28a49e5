"""Writes published sets as TFDS data sets."""
