"""The sandbox and its tests on other dates: everything that reads a clock runs as of a moment that is not today."""
