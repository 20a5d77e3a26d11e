"""Parameters annotated with pydantic models: the same promises, kept by pydantic's own validation."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowqueue import ConfigurationError, InvalidArguments
from tests.app.round_trip import shape, signature, stored

pydantic: Any = pytest.importorskip("pydantic")


class Model(pydantic.BaseModel):
    id: int
    when: datetime
    alias: str = pydantic.Field(default="", alias="aliasName")

    @pydantic.computed_field
    @property
    def twice(self) -> int:
        return self.id * 2


class StrictModel(pydantic.BaseModel):
    model_config = {"strict": True}  # noqa: RUF012
    day: date


Secretive: Any = pydantic.create_model("Secretive", password=(pydantic.SecretStr, ...))


class Unstorable(pydantic.BaseModel):
    model_config = {"arbitrary_types_allowed": True}  # noqa: RUF012
    thing: complex | object


text = st.text(st.characters(exclude_categories=["Cs"]))
models = st.builds(Model, id=st.integers(), when=st.datetimes(timezones=st.just(UTC)), aliasName=text)
CASES = {
    "model": (Model, models),
    "strict": (StrictModel, st.builds(StrictModel, day=st.dates())),
    "list": (list[Model], st.lists(models)),
    "optional": (Model | None, st.none() | models),
    "dict": (dict[str, Model], st.dictionaries(text, models)),
    "field": (Annotated[int, pydantic.Field(gt=5)], st.integers(6)),
}


@pytest.mark.parametrize("case", CASES)
@given(st.data())
def test_models_come_back_identical(case, data):
    annotation, values = CASES[case]
    value = data.draw(values)
    assert shape(stored(annotation, value)) == shape(value)


def test_what_is_stored_is_readable_and_by_alias():
    value = Model(id=7, when=datetime(2026, 1, 1, tzinfo=UTC), aliasName="a")
    assert signature(Model).encode((value,), {}) == {
        "value": {"id": 7, "when": "2026-01-01T00:00:00Z", "aliasName": "a"}
    }


@pytest.mark.parametrize(
    "annotation, value",
    [
        (Model, {"id": 7, "when": "2020-01-01"}),
        (Model, Model.model_construct(id="x", when=None)),
        (Secretive, Secretive(password="hidden")),
        (Unstorable, Unstorable(thing=object())),
        (Annotated[int, pydantic.Field(gt=5)], 5),
        (list[Model], [7]),
        (Model, None),
    ],
    ids=["dict", "constructed", "secret", "unstorable", "bound", "list", "none"],
)
def test_refused(annotation, value):
    with pytest.raises(InvalidArguments):
        stored(annotation, value)


@pytest.mark.parametrize(
    "annotation, value",
    [
        (Model, {"secret": "secret"}),
        (Annotated[str, pydantic.Field(pattern="^a")], "secret"),
        (dict[str, Model], {"secret": "secret"}),
        (Annotated[str, pydantic.AfterValidator(int)], "secret"),
    ],
    ids=["dict", "pattern", "key", "validator"],
)
def test_messages_never_show_the_value(annotation, value):
    with pytest.raises(InvalidArguments) as raised:
        stored(annotation, value)
    assert "secret" not in str(raised.value)
    assert re.match("argument 'value' of job ", str(raised.value))
    with pytest.raises(InvalidArguments) as raised:
        signature(annotation).decode({"value": ["secret"]})
    assert "secret" not in str(raised.value)


class Foreign: ...


def test_types_that_pydantic_does_not_know_are_refused_at_decoration():
    with pytest.raises(ConfigurationError, match="parameter 'value' of job cannot be stored"):
        signature(dict[str, Model | Foreign])
