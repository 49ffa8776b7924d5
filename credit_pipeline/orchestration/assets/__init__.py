"""The assets of a system, from snapshots to applied corrections. Each asks one service and returns a value."""
