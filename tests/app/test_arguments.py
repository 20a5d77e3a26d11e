"""How a call's arguments become one object by parameter name, and a call again."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rowqueue
from rowqueue import ConfigurationError, Context, InvalidArguments
from rowqueue.app.arguments import Signature


def of(function: Any) -> Signature:
    return Signature("mail.send", function, Context)


def simple(user: int, locale: str = "en", *, urgent: bool = False): ...


def test_positions_become_names_and_defaults_are_not_stored():
    schema = of(simple)
    assert schema.encode((7,), {}) == {"user": 7}
    assert schema.encode((7, "de"), {"urgent": True}) == {"user": 7, "locale": "de", "urgent": True}
    assert schema.encode((), {"urgent": False, "user": 7}) == {"urgent": False, "user": 7}


@pytest.mark.parametrize(
    "args, kwargs, message",
    [
        ((), {}, "mail.send needs 'user'"),
        ((), {"locale": "de"}, "mail.send needs 'user'"),
        ((7, "de", True), {}, "mail.send takes 2 positional arguments, not 3"),
        ((7,), {"user": 7}, "mail.send got 'user' twice"),
        ((7,), {"colour": 1}, "mail.send does not take 'colour'; it takes user, locale, urgent"),
        ((7,), {"context": 1}, "mail.send does not take 'context'; it takes user, locale, urgent"),
        (("7",), {}, "argument 'user' of mail.send does not fit: Expected `int`, got `str`"),
    ],
)
def test_calls_that_do_not_fit(args, kwargs, message):
    with pytest.raises(InvalidArguments) as raised:
        of(simple).encode(args, kwargs)
    assert str(raised.value) == message


def strange(a: int, /, b: int, c: int = 1, *, d: int, e: int = 2):
    return a, b, c, d, e


@given(
    st.lists(st.integers(0, 9), max_size=5),
    st.dictionaries(st.sampled_from("abcdex"), st.integers(0, 9)),
)
def test_a_call_fits_exactly_when_python_would_take_it(args, kwargs):
    schema = of(strange)
    try:
        strange(*args, **kwargs)
    except TypeError:
        with pytest.raises(InvalidArguments):
            schema.encode(tuple(args), kwargs)
    else:
        stored = schema.encode(tuple(args), kwargs)
        positional, named = schema.decode(stored)
        assert strange(*positional, **named) == strange(*args, **kwargs)


def test_positional_only_parameters_keep_their_defaults():
    def function(a: int = 5, b: int = 6, /, c: int = 7):
        return a, b, c

    for args in ((), (1,), (1, 2), (1, 2, 3)):
        positional, named = of(function).decode(of(function).encode(args, {}))
        assert function(*positional, **named) == function(*args)


def test_keywords_of_any_name_are_stored_flat():
    def function(context: Context, to: str, **words: int): ...

    schema = of(function)
    assert schema.encode(("me",), {"delay": 1, "queue": 2}) == {"to": "me", "delay": 1, "queue": 2}
    assert schema.decode({"to": "me", "delay": 1}) == ([], {"to": "me", "delay": 1})
    with pytest.raises(InvalidArguments, match="argument 'delay' of"):
        schema.encode(("me",), {"delay": "soon"})
    with pytest.raises(InvalidArguments, match="does not take 'context'"):
        schema.encode(("me",), {"context": 1})


def test_a_context_is_taken_by_its_annotation_and_only_in_front():
    def by_annotation(anything: Context, user: int): ...
    def by_string(c: "rowqueue.Context", /, user: int): ...  # noqa: UP037
    def by_name_only(context, user: int): ...
    def behind(user: int, context: Context): ...

    for function in (by_annotation, by_string):
        assert of(function).takes_context
        assert of(function).encode((7,), {}) == {"user": 7}
        assert list(of(function).public.parameters) == ["user"]
    assert not of(by_name_only).takes_context
    with pytest.raises(
        ConfigurationError, match=r"first parameter of mail\.send: move 'context' to the front"
    ):
        of(behind)


def test_decoding_says_what_changed_since_the_enqueue():
    schema = of(simple)
    cases = {
        "was stored with 'colour', which the function no longer takes": {"user": 7, "colour": "secret"},
        "was stored without 'user', which the function needs now": {"locale": "secret"},
        "was stored with a 'user' that does not fit: Expected `int`, got `str`": {"user": "secret"},
        "was stored with a 'locale' that does not fit: Expected `str`, got `int`": {"user": 7, "locale": 7},
        "was stored with a 'urgent' that does not fit: Expected `bool`, got `str`": {
            "user": 7,
            "urgent": "true",
        },
        "was stored with a list as arguments": ["secret"],
    }
    for message, stored in cases.items():
        with pytest.raises(InvalidArguments, match=message) as raised:
            schema.decode(stored)  # type: ignore[arg-type]
        assert "secret" not in str(raised.value)


def test_a_changed_default_holds_for_jobs_that_wait():
    stored = of(simple).encode((7,), {})

    def changed(user: int, locale: str = "fr"):
        return locale

    args, kwargs = of(changed).decode(stored)
    assert changed(*args, **kwargs) == "fr"


def test_signatures_that_cannot_be_stored():
    def many(*users: int): ...
    def both(a: int, /, **words: int): ...
    def absent(when: Nowhere): ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(
        ConfigurationError, match=r"takes \*users, but arguments are stored by name: take one list"
    ):
        of(many)
    with pytest.raises(ConfigurationError, match="remove the '/'"):
        of(both)
    with pytest.raises(
        ConfigurationError, match=r"annotation 'Nowhere' of mail\.send is not there at run time"
    ):
        of(absent)


class Decorated:
    """A decorator that is an object, as some libraries' are."""

    def __init__(self, function: Any):
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any): ...


def test_wrapped_partial_and_callable_objects_keep_their_annotations():
    @functools.wraps(simple)
    def wrapper(*args: Any, **kwargs: Any): ...

    class Sender:
        def __call__(self, user: int, locale: str = "en"): ...

    for function in (
        wrapper,
        functools.partial(simple, locale="de"),
        Sender(),
        functools.lru_cache(simple),
        Decorated(simple),
    ):
        schema = of(function)
        assert schema.encode((), {"user": 7}) == {"user": 7}
        with pytest.raises(InvalidArguments, match=r"argument 'user' of mail\.send"):
            schema.encode((), {"user": "7"})


def test_arguments_do_not_show_their_values():
    app = rowqueue.App("sqlite:///never-opened.db")
    job = app.job(kind="mail.send")(simple)
    assert repr(job.args(7, "secret")) == "Arguments(kind='mail.send')"
