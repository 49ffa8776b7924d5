"""Joins Arrow tables into list columns with offsets, without a Python loop over rows."""

import pyarrow as pa
import pyarrow.compute as pc


def distinct(columns: list[pa.ChunkedArray]) -> pa.Array:
    """The distinct ids of these columns, ascending."""
    every = pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())
    ids = pc.unique(every)
    return ids.take(pc.sort_indices(ids))


def aligned(ids: pa.Array, keys: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """For each id the value at its position in `keys`; null if it is not there."""
    return values.take(pc.index_in(ids, value_set=keys))


def nested(ids: pa.Array, owners: pa.ChunkedArray, values: pa.Array) -> pa.ListArray:
    """For each id the list of values it owns. `ids` and `owners` must be ascending, every owner one of the ids."""
    runs = pc.value_counts(owners)
    counts = runs.field("counts").take(pc.index_in(ids, value_set=runs.field("values"))).fill_null(0)
    ends = pc.cumulative_sum(counts.cast(pa.int32()))
    return pa.ListArray.from_arrays(pa.concat_arrays([pa.array([0], pa.int32()), ends]), values)
