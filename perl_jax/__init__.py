"""Reinforcement learning for vision-language models that reason over several images."""
