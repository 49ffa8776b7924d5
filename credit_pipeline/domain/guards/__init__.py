"""Guards as pure functions: thresholds, and the refusals of plans and rows."""
