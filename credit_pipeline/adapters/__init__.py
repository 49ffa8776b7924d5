"""Implements the services' ports: billing APIs, product stores, our schema in Postgres, files, alerts."""
