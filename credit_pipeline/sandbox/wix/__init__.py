"""Wix's API as the sandbox serves it, and the book of app instances behind it."""
