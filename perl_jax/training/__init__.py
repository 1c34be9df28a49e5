"""Training: optimizer, update, checkpoints, the loop, and what people see of them."""
