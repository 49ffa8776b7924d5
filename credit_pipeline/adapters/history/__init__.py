"""What earlier runs left behind, in the product's database or, for report-only installs, in the home folder."""
