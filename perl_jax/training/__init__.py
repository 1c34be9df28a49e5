"""Training: optimizer, update, checkpoints, the loop, and its display."""
