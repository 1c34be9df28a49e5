"""Qwen2.5-VL (arXiv 2502.13923): the published 3B, 7B, 32B and 72B, and fine-tunes of them."""
