"""The drawn state machine is the one in the code."""

import pytest

from rowqueue.core import states
from scripts import draw_states


def test_picture_and_table_are_up_to_date():
    """Else: python scripts/draw_states.py."""
    assert draw_states.PICTURE.read_text() == draw_states.picture()
    assert draw_states.PAGE.read_text() == draw_states.page(draw_states.PAGE.read_text())


def test_an_arrow_that_nobody_drew_is_refused(monkeypatch):
    more = states.Transition(
        states.Verb.SNOOZE, frozenset({states.State.RUNNING}), frozenset({states.State.PENDING})
    )
    monkeypatch.setattr(draw_states, "TRANSITIONS", (*states.TRANSITIONS, more))
    with pytest.raises(ValueError, match="draw these"):
        draw_states.picture()
    assert "| `snooze` | running | pending |" in draw_states.table()
