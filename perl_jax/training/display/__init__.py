"""The display of a run: metrics, their writers, progress and curves."""
