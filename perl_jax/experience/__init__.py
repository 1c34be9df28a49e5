"""Turns rows into the batch of a step."""
