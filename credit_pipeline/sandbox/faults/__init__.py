"""Faults that the sandbox's billing servers can be told to show, and how they look on the wire."""
