"""Failed webhooks and requests for a sync, as the product's doors record them. Repairing them is a use case."""
