"""Qwen2.5-VL, exactly as published, from and to its Hugging Face directory."""
