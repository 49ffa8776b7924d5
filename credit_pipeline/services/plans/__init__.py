"""Saved correction plans: proposing, guarding, confirming, undoing and reporting them. Applies none."""
