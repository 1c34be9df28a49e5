"""Evaluation on held-out examples under several orders of their images."""
