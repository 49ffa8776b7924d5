"""What earlier runs recorded: in the product's database or, with read-only access, on the history server."""
