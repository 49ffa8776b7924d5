"""Single accounts now: sync requests, failed webhooks and undelivered events."""
