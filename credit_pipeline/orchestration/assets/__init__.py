"""The assets of a system, from snapshots to applied corrections. Each calls one service and returns its value."""
