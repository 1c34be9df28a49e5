"""From batches to updates of the policy."""
