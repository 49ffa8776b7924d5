"""The use cases, written against ports: collect, reconcile, correct, explain."""
