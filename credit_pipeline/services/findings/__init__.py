"""What people decide about findings, exemptions and the kill switch."""
