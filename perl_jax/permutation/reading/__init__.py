"""Reads what an English text says about its images."""
