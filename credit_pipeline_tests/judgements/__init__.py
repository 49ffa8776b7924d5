"""Judgements as data: what a comparison was given, and what it came to. They are recorded, replayed and compared."""
