"""The health monitor, after a comparison and between two of them, and balances over time."""
