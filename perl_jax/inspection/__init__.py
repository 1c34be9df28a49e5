"""What permutation makes of rows: counted, and shown on a page."""
