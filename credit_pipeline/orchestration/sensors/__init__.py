"""Schedules, and sensors for failed webhooks, sync requests, undelivered events and alerts."""
