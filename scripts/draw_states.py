"""Draws the state machine from the table in the code, as a picture and as the rows of a page's table.

python scripts/draw_states.py
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

from rowqueue.core.states import FINAL, TRANSITIONS, UNFINISHED, WAITING, State, Transition, Verb

ABOUT = Path(__file__).parents[1] / "docs" / "about"
PICTURE, PAGE = ABOUT / "states.svg", ABOUT / "states.md"
BEGIN, END = "<!-- made by scripts/draw_states.py -->", "<!-- end -->"

Edge = tuple[str, str]
NEW = "new"
BOX_WIDTH, BOX_HEIGHT = 104, 34

# The middle of each state's box.
PLACES = {
    State.PENDING: (170, 110),
    State.SCHEDULED: (170, 190),
    State.RETRYABLE: (170, 350),
    State.AVAILABLE: (400, 270),
    State.RUNNING: (640, 270),
    State.COMPLETED: (900, 110),
    State.SKIPPED: (900, 190),
    State.CANCELLED: (900, 270),
    State.DISCARDED: (900, 350),
}

# The way of each arrow, and where its words stand.
WAYS: dict[Edge, tuple[str, tuple[int, int]]] = {
    (NEW, State.PENDING): ("M50 190 C80 190 80 110 118 110", (56, 124)),
    (NEW, State.SCHEDULED): ("M50 190 L118 190", (84, 182)),
    (NEW, State.AVAILABLE): ("M50 190 C80 190 80 270 150 270 L348 270", (140, 262)),
    (State.PENDING, State.AVAILABLE): ("M222 110 C330 110 385 180 392 253", (348, 128)),
    (State.SCHEDULED, State.AVAILABLE): ("M222 190 C300 190 350 215 372 253", (276, 184)),
    (State.RETRYABLE, State.AVAILABLE): ("M222 350 C300 350 350 325 372 287", (300, 334)),
    (State.AVAILABLE, State.RUNNING): ("M452 262 L588 262", (520, 254)),
    (State.RUNNING, State.AVAILABLE): ("M588 280 L452 280", (520, 297)),
    (State.RUNNING, State.SCHEDULED): ("M625 253 C560 150 350 150 222 182", (500, 160)),
    (State.RUNNING, State.RETRYABLE): ("M625 287 C560 390 350 390 222 358", (574, 374)),
    (State.RUNNING, State.COMPLETED): ("M655 253 C680 160 740 110 848 110", (716, 124)),
    (State.RUNNING, State.SKIPPED): ("M675 253 C710 210 770 190 848 190", (772, 184)),
    (State.RUNNING, State.CANCELLED): ("M692 270 L848 270", (772, 262)),
    (State.RUNNING, State.DISCARDED): ("M675 287 C710 330 770 350 848 350", (752, 366)),
}

STYLE = """\
  .paper { fill: #ffffff } .group { fill: #f4f6fa; stroke: #c5cddb }
  .box { fill: #ffffff; stroke: #3f51b5; stroke-width: 1.5 } .final { stroke: #607d8b }
  .way { fill: none; stroke: #5c6bc0; stroke-width: 1.4; marker-end: url(#head) }
  .person { stroke-dasharray: 5 4; stroke: #607d8b }
  text { font: 13px sans-serif; fill: #263238; text-anchor: middle }
  .verb { font-size: 11.5px; fill: #3949ab } .said { font-size: 11.5px; fill: #546e7a }"""


def worker_edges() -> dict[Edge, list[Verb]]:
    """What happens to a job without a person: its arrows, and the verbs on each."""
    edges: dict[Edge, list[Verb]] = {}
    for row in TRANSITIONS:
        if row.verb is Verb.RETRY or is_persons(row):
            continue
        for source in sorted(row.sources) or [NEW]:
            for target in sorted(row.targets):
                if source != target and row.verb not in edges.setdefault((source, target), []):
                    edges[source, target].append(row.verb)
    return {edge: verbs for edge, verbs in edges.items() if verbs}


def is_persons(row: Transition) -> bool:
    """A verb that a person has, too, or that leaves nothing to draw."""
    return not row.fenced and row.verb in {Verb.SKIP, Verb.CANCEL, Verb.DISCARD, Verb.DELETE}


def picture() -> str:
    """The picture as SVG.

    Raises:
        ValueError: the table has an arrow that has no way here, or the reverse.
    """
    edges = worker_edges()
    if edges.keys() != WAYS.keys():
        raise ValueError(f"draw these, or take them away: {sorted(edges.keys() ^ WAYS.keys())}")
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 470" role="img" aria-label="The states of a job">',
        f"<style>\n{STYLE}\n</style>",
        (
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
            '<path d="M0 0 L8 4 L0 8 z" fill="#5c6bc0"/></marker></defs>'
        ),
        '<rect class="paper" width="1000" height="470" rx="10"/>',
        '<rect class="group" x="104" y="76" width="360" height="320" rx="10"/>',
        '<rect class="group" x="834" y="76" width="132" height="320" rx="10"/>',
        _words(284, 96, "waiting", "said"),
        _words(900, 89, "final", "said"),
        _words(40, 194, "●", "verb"),
        _way("M284 76 C284 40 860 20 890 76", "way person"),
        _words(590, 30, f"{_list(_verbs_between(WAITING))}: a person", "said"),
        _way("M890 396 C860 450 420 460 402 288", "way person"),
        _words(650, 452, f"{Verb.RETRY}: a person", "said"),
    ]
    for edge, (way, (x, y)) in WAYS.items():
        parts.append(_way(way, "way"))
        verbs = [str(verb) for verb in edges[edge]]
        lines = [verbs] if len(verbs) < 4 else [verbs[:3], verbs[3:6], verbs[6:]]
        above = y - 13 * (len(lines) - 1)
        parts += [
            _words(x, above + 13 * index, ", ".join(line), "verb") for index, line in enumerate(lines) if line
        ]
    for state, (x, y) in PLACES.items():
        kind = "box final" if state in FINAL else "box"
        left, top = x - BOX_WIDTH // 2, y - BOX_HEIGHT // 2
        parts.append(
            f'<rect class="{kind}" x="{left}" y="{top}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6"/>'
        )
        parts.append(_words(x, y + 5, state, "state"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _verbs_between(sources: frozenset[State]) -> list[str]:
    return [
        row.verb for row in TRANSITIONS if not row.fenced and sources <= row.sources and row.targets <= FINAL
    ]


def _list(verbs: list[str]) -> str:
    return ", ".join(dict.fromkeys(verbs))


def _way(way: str, kind: str) -> str:
    return f'<path class="{kind}" d="{way}"/>'


def _words(x: int, y: int, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>'


def table() -> str:
    """The rows of the table of transitions, as Markdown."""
    rows = ["| verb | from | to | by |", "|---|---|---|---|"]
    for row in TRANSITIONS:
        who = "the worker that has the lease" if row.fenced else _WHO.get(row.verb, "a person")
        rows.append(
            f"| `{row.verb}` | {_states(row.sources) or 'nothing'} | {_states(row.targets) or 'gone'} | {who} |"
        )
    return "\n".join(rows)


_WHO = {
    Verb.ENQUEUE: "your code",
    Verb.PROMOTE: "any worker, when it is due; a person",
    Verb.CLAIM: "a worker",
    Verb.RESCUE: "any worker, when the lease has run out",
    Verb.DELETE: "any worker, when it is old (prune); a person",
}
_SETS = {
    UNFINISHED: "any that is not final",
    FINAL: "any final",
    frozenset(State) - {State.RUNNING}: "any but running",
}


def _states(states: frozenset[State]) -> str:
    return _SETS.get(states) or ", ".join(state for state in State if state in states)


def page(text: str) -> str:
    """The page with its table made anew."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{table()}\n\n{END}{tail}"


if __name__ == "__main__":
    PICTURE.write_text(picture())
    PAGE.write_text(page(PAGE.read_text()))
