"""The rules: what is true about credits and what may be done about it. Standard library only."""
