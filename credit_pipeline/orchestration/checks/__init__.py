"""The asset checks: true sentences about a system, and the verification of its audit chain."""
