"""Stores what people decide about findings: acknowledgements, acceptances, exemptions, the kill switch."""
