"""JSON: identical after the round trip, or refused in words (reliability #28, the part without a database)."""

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rowqueue.core import names, payload
from rowqueue.core.errors import ConfigurationError, InvalidArguments, PayloadTooLarge

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(st.characters())
    | st.binary(max_size=3)
    | st.just(object()),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters()) | st.integers(), inner, max_size=4)
    ),
    max_leaves=20,
)


def same(one, two):
    """Equal, and of the same types: 1 is not 1.0 is not True."""
    if type(one) is not type(two):
        return False
    if isinstance(one, dict):
        return list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, float):
        return one == two and math.copysign(1, one) == math.copysign(1, two)
    return one == two


@given(ANYTHING)
@example(2**63)
@example(-(2**64))
@example(-0.0)
@example(5e-324)
@example("\0")
@example("\ud83d\ude00")
@example({"": {"\0": []}})
def test_a_value_comes_back_identical_or_is_refused_in_words(value):
    text = said_no = None
    try:
        text = payload.encode(value, "it")
    except InvalidArguments as refused:
        said_no = str(refused)
    if text is None:
        assert said_no is not None
        assert said_no.startswith("it ")
        return
    assert "\0" not in text
    text.encode()
    assert same(payload.decode(text), value)
    assert same(json.loads(text), value)


def test_depth_is_limited_to_what_databases_parse():
    deep: list[object] = []
    for _ in range(63):
        deep = [deep]
    assert payload.decode(payload.encode(deep, "it")) == deep
    with pytest.raises(InvalidArguments, match="deeper than 64"):
        payload.encode([deep], "it")


def test_a_value_that_holds_itself_is_refused():
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(InvalidArguments, match="deeper than 64"):
        payload.encode(loop, "it")


def test_no_message_shows_the_value():
    for secret in (
        "s3cret\ud800",
        [b"s3cret"],
        {"s3cret": object()},
        {"a": float("nan"), "s3cret": "s3cret"},
    ):
        with pytest.raises(InvalidArguments) as refused:
            payload.encode(secret, "it")
        assert "s3cret" not in str(refused.value)


@given(st.text(st.characters(), max_size=5) | st.integers() | st.none() | st.binary())
def test_a_name_is_text_that_every_database_holds(value):
    refused = isinstance(value, str) and ("\0" in value or any(0xD800 <= ord(c) < 0xE000 for c in value))
    if refused or not isinstance(value, str) or not 0 < len(value) <= 4:
        with pytest.raises(ConfigurationError, match=r"^it "):
            names.text(value, "it", limit=4)
    else:
        assert names.text(value, "it", limit=4).encode()


@pytest.mark.parametrize("bad", ["", "1a", "A", "a-b", "a b", 'a"', "a\n", "ü", "a" * 41, None, 7, "a;--"])
def test_prefixes_that_are_not_plain_are_refused(bad):
    with pytest.raises(ConfigurationError, match="table prefix"):
        names.prefix(bad)


def test_plain_prefixes_and_whole_numbers_pass():
    assert names.prefix("a" * 40) == "a" * 40
    assert names.prefix("_x1_") == "_x1_"
    assert names.whole(3, "it", 1, 3) == 3
    for bad in (0, 4, 1.0, "1", True, None):
        with pytest.raises(ConfigurationError, match="it must be a whole number from 1 to 3"):
            names.whole(bad, "it", 1, 3)


@pytest.mark.parametrize(
    "value, depth",
    [({}, 1), ([], 1), ("[[[", 0), ({"a": [1, {"b": []}]}, 4), ({'"[': "]\\"}, 1), ([[], [[]]], 3)],
)
def test_depth_counts_what_is_open_at_once(value, depth):
    assert payload.depth_of(payload.encode(value, "x")) == depth


def test_the_limit_is_counted_in_bytes_and_itself_allowed():
    assert payload.encode("ü" * 4, "it", limit=10) == f'"{"ü" * 4}"'
    with pytest.raises(PayloadTooLarge):
        payload.encode("ü" * 4 + "x", "it", limit=10)
