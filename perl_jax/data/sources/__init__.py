"""Rows of every kind of file, as examples."""
