"""The asset checks of a system, among them the verification of its audit chain."""
