"""The jobs of a system, and how the command line runs them in its own process."""
