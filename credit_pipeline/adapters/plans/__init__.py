"""Saved correction plans, their approvals, and the call of the write function. Judges no guard."""
