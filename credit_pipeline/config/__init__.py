"""The keys of `defs.yaml`: their models, the loader, and positions for error messages. Opens no connection."""
