"""The Stripe client: requests, lists with proof of completeness, and the wire format."""
