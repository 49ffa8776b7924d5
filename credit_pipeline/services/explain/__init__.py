"""Why one account has the credits it has: eight checks and a timeline."""
