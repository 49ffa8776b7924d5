"""The outside: billing APIs, product stores, our schema in Postgres, snapshots, YAML."""
