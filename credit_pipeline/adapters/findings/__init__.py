"""Stores what people decide: acknowledgements, acceptances, exemptions, the kill switch."""
