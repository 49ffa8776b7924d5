"""Clients of the billing providers, a folder each, and the rows that all of them produce. Judges nothing."""
