"""Products to try everything on: embedded Postgres, a billing server, planted populations and their truth."""
