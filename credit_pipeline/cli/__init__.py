"""The command line: commands and rendering, nothing that decides."""
