"""The jobs of a system, and what a command that runs one hears of its progress."""
