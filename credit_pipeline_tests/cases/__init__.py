"""Stories of real products with the right answer, and their siblings: a day earlier, another store, the grant there."""
