"""Connections and transactions on a product's Postgres, its catalogue, and queues in our tables."""
