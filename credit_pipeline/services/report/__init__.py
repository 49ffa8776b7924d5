"""The mismatch report and the ID-mapping report as values, put together from judgements and counts."""
