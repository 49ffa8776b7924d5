"""What people are told and when: the text of alerts, and the way from the outbox to the sinks."""
