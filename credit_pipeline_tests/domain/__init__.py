"""Tests of the rules: each table of the semantics as a table test, and whole lives of accounts on known truth."""
