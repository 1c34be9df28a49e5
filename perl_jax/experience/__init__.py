"""From rows to the batch of a step."""
