"""The sandbox's billing server for Wix and Stripe: its process, its control door, and the faults it can show."""
