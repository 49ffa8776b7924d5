"""What starts runs: schedules, and sensors of webhooks, sync requests, undelivered events and alerts."""
