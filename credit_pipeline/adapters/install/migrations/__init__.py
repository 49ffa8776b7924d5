"""Versions of our own schema in the product's database, run by Alembic. The write functions are renewed by `init`."""
