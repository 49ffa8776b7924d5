"""Reads the audit chain and keeps the heads noted outside the database. Writes no audit row."""
