"""What a run shows of itself: metrics, their writers, progress and curves."""
