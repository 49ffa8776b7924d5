"""Stripe's API as the sandbox serves it: the book of what it knows, its objects, lists and errors."""
