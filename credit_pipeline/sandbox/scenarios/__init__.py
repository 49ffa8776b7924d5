"""The planted systems: each product's population, its past, and the right answers."""
