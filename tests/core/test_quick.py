"""Values made quickly are the values themselves."""

import gc
from dataclasses import FrozenInstanceError, dataclass, fields

import pytest

from rowqueue.core.finish import Finish
from rowqueue.core.quick import maker, undisturbed
from rowqueue.core.states import Verb
from rowqueue.core.values import Claim, Enqueued, Job, NewJob, Outcome


@pytest.mark.parametrize("frozen", [Job, Claim, Enqueued, NewJob, Outcome, Finish])
def test_it_makes_what_the_class_makes(frozen: type) -> None:
    values = {field.name: f"the {field.name}" for field in fields(frozen)}
    made, usual = maker(frozen)(**values), frozen(**values)
    assert type(made) is frozen
    assert made == usual
    assert repr(made) == repr(usual)
    with pytest.raises(FrozenInstanceError):
        setattr(made, fields(frozen)[0].name, "another")


def test_defaults_are_those_of_the_class() -> None:
    assert maker(Outcome)(7) == Outcome(7)
    assert maker(Finish)("claim", Verb.COMPLETE) == Finish("claim", Verb.COMPLETE)  # type: ignore[arg-type]


def test_a_class_without_slots_is_refused() -> None:
    @dataclass(frozen=True)
    class Open:
        value: int

    with pytest.raises(TypeError):
        maker(Open)(1)


def test_the_garbage_collector_waits_and_is_as_it_was_afterwards() -> None:
    assert gc.isenabled()
    with pytest.raises(ValueError, match="no"), undisturbed():
        assert not gc.isenabled()
        raise ValueError("no")
    assert gc.isenabled()
    gc.disable()
    try:
        with undisturbed():
            pass
        assert not gc.isenabled(), "somebody else had switched it off"
    finally:
        gc.enable()
