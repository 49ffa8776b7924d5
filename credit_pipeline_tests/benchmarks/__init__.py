"""Ratios against a raw limit or a peer in the same run, never timed tests. `make bench` runs them all."""
