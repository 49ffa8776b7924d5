"""The sandbox's billing server for Wix and Stripe: its process, its control routes and its faults."""
