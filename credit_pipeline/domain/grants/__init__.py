"""Which grants are due, which are there, and what happened to credits in between."""
