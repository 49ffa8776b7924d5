"""The population of wix_app: its table, the lives of its sites, and what goes wrong in them."""
