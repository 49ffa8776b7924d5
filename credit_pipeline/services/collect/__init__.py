"""Collecting: both sides read once and kept as immutable snapshots. Judges nothing."""
