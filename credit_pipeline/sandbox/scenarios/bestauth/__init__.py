"""The population of bestauth: its tables, the lives of its users, and what goes wrong in them."""
