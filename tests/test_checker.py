"""The judge itself: a sound history passes, and each metric catches the history that breaks it."""

import pytest

from tests.checker import Event, Report, Row, check

DONE = Row(final=True)
SOUND = [
    Event("enqueue", 1),
    Event("start", 1, lease=1, at=10, until=40, place=(1, 1)),
    Event("effect", 1, lease=1, at=11),
    Event("finish", 1, lease=1, at=12),
    # left by its worker, rescued, run again, and the first worker wakes up late
    Event("enqueue", 2),
    Event("start", 2, lease=1, at=10, until=40, place=(1, 2)),
    Event("extend", 2, lease=1, at=20, until=50),
    Event("rescue", 2, lease=1, at=51, cause="rescued"),
    Event("start", 2, lease=3, at=52, until=82, place=(1, 2)),
    Event("finish", 2, lease=1, at=53, answer="stale"),
    Event("extend", 2, lease=1, at=53, until=83, answer="stale"),
    Event("once", 2, lease=3, at=54),
    Event("finish", 2, lease=3, at=54),
    # given back, then completed; its enqueue was never answered
    Event("enqueue", 3, answer="unknown"),
    Event("start", 3, lease=1, at=60, until=90, place=(1, 3)),
    Event("gave_back", 3, lease=1, at=61, cause="snoozed"),
    Event("start", 3, lease=2, at=62, until=92, place=(1, 3)),
    Event("effect", 3, lease=2, at=63),
    Event("ended", 3, lease=2, at=64),
    Event("finish", 3, lease=2, at=64),
    Event("told", 3, lease=2, at=65),
    # completed, asked for again by a person, and completed once more; the clock was set back before its renewal
    Event("enqueue", 6),
    Event("start", 6, lease=1, at=70, until=100, place=(1, 4)),
    Event("once", 6, lease=1, at=71),
    Event("finish", 6, lease=1, at=71),
    Event("retry", 6, lease=1, at=72, cause="retried"),
    Event("start", 6, lease=3, at=73, until=103, place=(1, 4)),
    Event("extend", 6, lease=3, at=80, until=90),
    Event("ended", 6, lease=3, at=81),
    Event("once", 6, lease=3, at=81),
    Event("finish", 6, lease=3, at=81),
    # rolled back, and never there; and one whose answer was lost that is not there
    Event("enqueue", 4, answer="fail"),
    Event("enqueue", 5, answer="unknown"),
]
ROWS = {1: DONE, 2: DONE, 3: DONE, 6: DONE}


def judged(*more: Event, without: tuple[Event, ...] = (), **rows: Row | None) -> Report:
    changed = {int(key.removeprefix("row")): row for key, row in rows.items()}
    stand = {key: row for key, row in (ROWS | changed).items() if row is not None}
    return check([event for event in [*SOUND, *more] if event not in without], stand)


def test_a_sound_history_passes_and_is_counted():
    report = check(SOUND, ROWS)
    assert report.violations() == {}
    assert (report.starts, report.stale_refused, report.recovered) == (7, 2, 1)
    assert dict(report.explained) == {"rescued": 1, "snoozed": 1, "retried": 1}
    assert "7 starts" in str(report)
    assert "no violation" in str(report)


BROKEN = {
    "lost: the row is gone": (lambda: judged(row1=None), "lost"),
    "lost: never finished": (lambda: judged(row1=Row(final=False)), "lost"),
    "unexpected: a row": (lambda: judged(row9=DONE), "unexpected"),
    "unexpected: a start": (lambda: judged(Event("start", 9, lease=1, at=1, until=2)), "unexpected"),
    "unexpected: an effect": (lambda: judged(Event("effect", 9, lease=1)), "unexpected"),
    "phantom: a row": (lambda: judged(row4=DONE), "phantom"),
    "phantom: a start": (lambda: judged(Event("start", 4, lease=1, at=1, until=2)), "phantom"),
    "unexplained: no cause": (lambda: judged(without=(SOUND[7],)), "unexplained"),
    "unexplained: the same lease twice": (
        lambda: judged(Event("start", 1, lease=1, at=50, until=80)),
        "unexplained",
    ),
    "unexplained: the cause is of a later lease": (
        lambda: judged(Event("rescue", 2, lease=3, at=51, cause="rescued"), without=(SOUND[7],)),
        "unexplained",
    ),
    "unexplained: a refused end is no cause": (
        lambda: judged(Event("gave_back", 2, lease=1, at=51, answer="stale"), without=(SOUND[7],)),
        "unexplained",
    ),
    "overlap": (
        lambda: judged(
            Event("rescue", 1, lease=1, at=10.5, cause="rescued"),
            Event("start", 1, lease=3, at=11, until=41),
        ),
        "overlap",
    ),
    "overlap: with a lease that was extended": (
        lambda: judged(Event("extend", 2, lease=1, at=40, until=60)),
        "overlap",
    ),
    "stale accepted: a finish": (lambda: judged(Event("finish", 2, lease=1, at=53)), "stale_accepted"),
    "stale accepted: a renewal": (
        lambda: judged(Event("extend", 2, lease=1, at=53, until=50)),
        "stale_accepted",
    ),
    "not once: twice": (lambda: judged(Event("once", 2, lease=3, at=55)), "not_once"),
    "not once: no effect": (lambda: judged(without=(SOUND[2],)), "not_once"),
    "not once: an effect without its completion": (
        lambda: judged(row2=Row(final=True, completed=False)),
        "not_once",
    ),
    "not once: two finishes were accepted": (
        lambda: judged(Event("finish", 1, lease=1, at=13)),
        "not_once",
    ),
    "not once: more often than it was asked for": (
        lambda: judged(Event("once", 6, lease=3, at=82)),
        "not_once",
    ),
    "mistold: done, and the database has no end": (lambda: judged(Event("told", 3, lease=1)), "mistold"),
    "mistold: refused, and the database has its end": (
        lambda: judged(Event("told", 3, lease=2, answer="stale")),
        "mistold",
    ),
    "stuck": (lambda: judged(row1=Row(final=False, running_expired=True)), "stuck"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_history_is_caught_by_its_metric(name):
    make, metric = BROKEN[name]
    report = make()
    assert metric in report.violations(), report
    assert metric in str(report)


def test_starts_of_one_worker_must_come_in_order():
    history = [
        Event("enqueue", 1),
        Event("start", 1, lease=1, at=10, until=40, place=(1, 5, 1)),
        Event("enqueue", 2),
        Event("start", 2, lease=1, at=10, until=40, place=(1, 5, 2)),
        Event("enqueue", 3),
        Event("start", 3, lease=1, at=11, until=41, place=(1, 4, 3)),
    ]
    rows = dict.fromkeys((1, 2, 3), Row(final=True, completed=False))
    assert check(history, rows).violations() == {}
    assert check(history[:4], {1: rows[1], 2: rows[2]}, in_order=True).violations() == {}
    assert check(history, rows, in_order=True).violations() == {"out_of_order": [3]}


def test_every_metric_has_a_history_that_breaks_it():
    metrics = {metric for _, metric in BROKEN.values()} | {"out_of_order"}
    assert metrics == {
        "lost",
        "unexpected",
        "phantom",
        "unexplained",
        "overlap",
        "stale_accepted",
        "not_once",
        "out_of_order",
        "stuck",
        "mistold",
    }
