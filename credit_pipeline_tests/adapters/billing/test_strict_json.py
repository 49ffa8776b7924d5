"""What the strict reader takes and what it refuses; it never raises anything but its own error."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_pipeline.adapters.billing.http.strict_json import NotStrictJson, read_object


def test_an_ordinary_object_is_read():
    assert read_object('{"a": [1, 2.5, null, true, "ü"], "b": {}}'.encode()) == {
        "a": [1, 2.5, None, True, "ü"],
        "b": {},
    }


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b'{"a": 1', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"a": NaN}', "NaN or Infinity"),
        (b'{"a": -Infinity}', "NaN or Infinity"),
        (b'{"a": 1e999}', "out of range"),
        (b'{"a": 1, "a": 2}', "a key occurs twice"),
        (b'{"x": {"a": 1, "a": 1}}', "a key occurs twice"),
        (b'{"a": ' + b"9" * 20 + b"}", "too many digits"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"a": "\\u0000"}', "NUL"),
        (b'{"a": "\\ud800"}', "lone surrogate"),
        (b'{"\\ud800": 1}', "lone surrogate"),
        (b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}", "nested too deeply"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    ],
)
def test_what_python_would_let_through_is_refused(body, why):
    with pytest.raises(NotStrictJson, match=why):
        read_object(body)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_accepted_or_refused_and_nothing_else(body):
    with contextlib.suppress(NotStrictJson):
        assert isinstance(read_object(body), dict)


KEYS = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))


@given(st.dictionaries(KEYS, st.integers(-(10**18), 10**18)))
def test_what_it_accepts_it_reads_as_python_does(value):
    assert read_object(json.dumps(value).encode()) == value
