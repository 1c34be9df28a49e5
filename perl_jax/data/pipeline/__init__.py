"""Rows on their way into a run: ordered, mixed, filtered, prepared, and agreed on by all hosts."""
