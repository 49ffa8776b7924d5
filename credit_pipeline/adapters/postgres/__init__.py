"""Connections and transactions on a product's Postgres, catalogue look-ups, and work queues in our tables."""
