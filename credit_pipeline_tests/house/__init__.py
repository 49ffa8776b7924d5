"""What the structure of the package measures. `make house` prints it; nothing here asserts."""
