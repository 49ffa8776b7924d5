"""Keeps the credit balances in a product's Postgres true to what its billing provider says was bought."""
