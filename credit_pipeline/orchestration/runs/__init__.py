"""Runs that a command starts in its own process, on the Dagster instance of the working folder."""
