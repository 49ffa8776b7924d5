"""Plans, their amounts and periods, and how a provider's word for a plan is resolved."""
