"""Who an account is: identities, subscriptions, and the facts that a judgement rests on."""
