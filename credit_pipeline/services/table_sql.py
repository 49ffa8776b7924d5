"""SQL over Arrow tables, by a DuckDB in memory."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import duckdb
import pyarrow as pa

FEW = 20_000
"""Rows up to which a second thread costs more than it helps: a third of the CPU, on tables of a hundred."""


@contextmanager
def over(tables: Mapping[str, pa.Table], *, ordered: bool = True) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with these tables, by name. `ordered`: rows keep the order in which they were inserted."""
    threads = 1 if sum(table.num_rows for table in tables.values()) <= FEW else 2
    with duckdb.connect(":memory:", config={"threads": threads, "preserve_insertion_order": ordered}) as db:
        for name, table in tables.items():
            db.register(name, table)
        yield db
