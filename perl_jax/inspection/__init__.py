"""Counts and shows what permutation does to rows."""
