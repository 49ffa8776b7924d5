"""The sandbox's billing server for Wix and Stripe: its process, its state and its control door."""
