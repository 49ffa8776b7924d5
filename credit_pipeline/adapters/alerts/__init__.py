"""Delivers alerts: the outbox in our schema, and the sinks log, webhook and e-mail. Decides no wording."""
