"""Files kept outside Postgres: snapshots as Parquet, and the review pack of a plan."""
