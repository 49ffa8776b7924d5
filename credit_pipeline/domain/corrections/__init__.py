"""Corrections as values: steps, lanes, keys, how findings become corrections, and how an undo compensates."""
