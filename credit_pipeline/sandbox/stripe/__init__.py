"""Stripe's API as the sandbox serves it: its book, objects, lists and errors."""
