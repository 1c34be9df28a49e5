"""A page about a run: curves, what was filtered and permuted, evaluations, and its rollouts."""
