"""Reads a product's balances and users as Arrow tables, by store layout. Writes nothing."""
