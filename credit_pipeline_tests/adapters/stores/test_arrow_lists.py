"""Rows under rows: the offsets give the same lists as a loop over the rows would."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from credit_pipeline.adapters.stores.arrow_lists import aligned, distinct, nested

IDS = st.text("abZé-1", max_size=3)


@given(st.sets(IDS), st.lists(st.tuples(IDS, st.integers(0, 9))))
def test_every_id_gets_its_own_values_in_order(ids: set[str], rows: list[tuple[str, int]]) -> None:
    rows = sorted(rows, key=lambda row: row[0].encode())
    owners = pa.chunked_array([[owner for owner, _ in rows[:2]], [owner for owner, _ in rows[2:]]], pa.string())
    every = distinct([pa.chunked_array([sorted(ids)], pa.string()), owners])
    assert every.to_pylist() == sorted({*ids, *(owner for owner, _ in rows)}, key=str.encode)
    lists = nested(every, owners, pa.array([value for _, value in rows], pa.int64()))
    lists.validate(full=True)
    assert lists.to_pylist() == [[value for owner, value in rows if owner == one] for one in every.to_pylist()]


@given(st.lists(IDS, unique=True), st.dictionaries(IDS, st.integers()))
def test_a_value_stands_beside_its_id_or_is_null(ids: list[str], values: dict[str, int]) -> None:
    keys = pa.chunked_array([list(values)], pa.string())
    numbers = pa.chunked_array([[abs(value) % 1000 for value in values.values()]], pa.int64())
    found = aligned(pa.array(ids, pa.string()), keys, numbers)
    assert found.to_pylist() == [abs(values[one]) % 1000 if one in values else None for one in ids]
