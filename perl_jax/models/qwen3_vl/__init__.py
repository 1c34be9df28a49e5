"""Qwen3-VL (arXiv 2511.21631): the published dense 2B, 4B, 8B, 32B, and fine-tunes of them."""
