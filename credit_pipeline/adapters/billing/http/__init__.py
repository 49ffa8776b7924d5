"""Bounded HTTP for the billing clients: deadlines, sizes, retries, rate limits, strict JSON."""
