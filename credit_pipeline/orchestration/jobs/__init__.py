"""The jobs of a system, and functions that run them in the command line's process."""
