"""The store against a dict (reliability #3): Hypothesis picks verbs and claims, the model says what must come of them.

By default 200 examples over the databases, with `--long` 3,000, or as ROWQUEUE_HYPOTHESIS_EXAMPLES says.
"""

import contextlib
import os
from collections import Counter
from dataclasses import dataclass, field, replace

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rowqueue.core.policies import RetryPolicy
from rowqueue.core.states import FINAL, UNFINISHED, WAITING, State, Verb, sources_of
from rowqueue.core.values import Claim, NewJob, Outcome
from rowqueue.store.store import Store
from tests.support.stores import Raw, raw

EXAMPLES = int(os.environ.get("ROWQUEUE_HYPOTHESIS_EXAMPLES", "0"))
QUEUES = ("a", "b")
KEYS = (None, "u", "u", "v")
ENDS = {Verb.SKIP: State.SKIPPED, Verb.CANCEL: State.CANCELLED, Verb.DISCARD: State.DISCARDED}

WORK = (
    Verb.COMPLETE,
    Verb.FAIL,
    Verb.SNOOZE,
    Verb.RELEASE,
    Verb.SKIP,
    Verb.CANCEL,
    Verb.DISCARD,
    Verb.EXTEND,
)
BY_KEY = (Verb.CANCEL, Verb.RETRY, Verb.SKIP, Verb.DISCARD, Verb.PROMOTE, Verb.DELETE)
SOMETIMES = {"lost while running", "key taken", "rescued to available", "rescued to discarded"}


@dataclass
class Model:
    """What one row must look like."""

    queue: str
    priority: int
    key: str | None
    held: frozenset[State]
    most: int
    state: State
    attempt: int = 0
    lease: int = 0
    failures: int = 0
    rescues: int = 0
    snoozes: int = 0
    errors: int = 0
    asked: bool = False

    @property
    def holds(self) -> bool:
        return self.key is not None and (self.state not in FINAL or self.state in self.held)


@dataclass
class World:
    """The rows, the claims that were given out, and the paused queues."""

    rows: dict[int, Model] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    paused: set[str] = field(default_factory=set)


class Machine(RuleBasedStateMachine):
    store: Store
    table: Raw
    reached: Counter[str]
    """How often each interesting turn was taken: a model that never meets one proves nothing about it."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @initialize()
    def empty(self) -> None:
        for name in ("job", "log", "queue"):
            self.table.execute(f"DELETE FROM rowqueue_{name}")
        for key in ("u", None, None):
            self.enqueue("a", 2, key, wide=False, most=2, start="available")

    # what is asked

    @rule(
        queue=st.sampled_from(QUEUES),
        priority=st.integers(1, 3),
        key=st.sampled_from(KEYS),
        wide=st.booleans(),
        most=st.integers(1, 3),
        start=st.sampled_from(["available", "scheduled", "pending"]),
    )
    def ask(self, queue: str, priority: int, key: str | None, wide: bool, most: int, start: str) -> None:
        self.enqueue(queue, priority, key, wide=wide, most=most, start=start)

    def enqueue(
        self, queue: str, priority: int, key: str | None, *, wide: bool, most: int, start: str
    ) -> None:
        held = UNFINISHED | {State.COMPLETED} if wide and key else frozenset()
        job = NewJob(
            kind="k",
            queue=queue,
            priority=priority,
            unique_key=key,
            unique_states=held or None,
            max_attempts=most,
            delay=3600 if start == "scheduled" else None,
            pending=start == "pending",
        )
        holder = self._holder(key)
        done = self.store.enqueue(job)
        assert done.inserted is (holder is None)
        if holder is not None:
            assert done.job.id == holder
            self.reached["key taken"] += 1
        else:
            self.world.rows[done.job.id] = Model(queue, priority, key, frozenset(held), most, State(start))

    @rule(limit=st.integers(1, 4), queues=st.sampled_from([None, ("a",), ("b",), ("a", "b")]))
    def claim(self, limit: int, queues: tuple[str, ...] | None) -> None:
        moments = {key: row["scheduled_at"] for key, row in self.table.all().items()}
        ready = {
            key: (row.priority, moments[key], key)
            for key, row in self.world.rows.items()
            if row.state is State.AVAILABLE
            and row.queue not in self.world.paused
            and (queues is None or row.queue in queues)
        }
        claims = self.store.claim(limit, queues=queues)
        order = [ready[claim.key] for claim in claims]
        assert order == sorted(order)
        assert len(claims) == min(limit, len(ready))
        for queue in QUEUES:  # the foremost of each queue
            mine = sorted(ready[key] for key in ready if self.world.rows[key].queue == queue)
            taken = [place for place in order if self.world.rows[place[2]].queue == queue]
            assert taken == mine[: len(taken)]
        for claim in claims:
            row = self.world.rows[claim.key]
            row.state, row.attempt, row.lease = State.RUNNING, row.attempt + 1, row.lease + 1
            assert (claim.lease, claim.job.attempt) == (row.lease, row.attempt)
        self.world.claims += claims

    @precondition(lambda self: self.world.claims)
    @rule(data=st.data())
    def work(self, data: st.DataObject) -> None:
        steps = st.lists(
            st.tuples(st.sampled_from(self.world.claims[-4:]), st.sampled_from(WORK)), min_size=1, max_size=4
        )
        for claim, verb in data.draw(steps, label="steps"):
            self.write(claim, verb)

    def write(self, claim: Claim, verb: Verb) -> None:
        row = self.world.rows.get(claim.key)
        outcome = self._write(verb, claim)
        if row is None or row.lease != claim.lease or row.state is not State.RUNNING:
            expected = "gone" if row is None else "lost" if row.lease != claim.lease else "wrong_state"
            assert outcome.reason == expected
            self.reached[f"{expected} while {row.state if row else 'gone'}"] += 1
            return
        self.reached[f"{verb} cancelled" if row.asked else verb] += 1
        assert outcome.done
        if verb is Verb.EXTEND:
            assert outcome.cancel_requested is row.asked
            return
        self._end(row, verb)
        assert outcome.state is row.state

    @precondition(lambda self: self.world.rows)
    @rule(data=st.data())
    def operate(self, data: st.DataObject) -> None:
        keys = st.sampled_from([*self.world.rows, 10**9])
        for key, verb in data.draw(
            st.lists(st.tuples(keys, st.sampled_from(BY_KEY)), min_size=1, max_size=4), label="steps"
        ):
            self.command(key, verb)

    def command(self, key: int, verb: Verb) -> None:
        row = self.world.rows.get(key)
        outcome = getattr(self.store, verb.value)(key)
        if row is None:
            assert outcome.reason == "gone"
        elif row.state not in sources_of(verb, fenced=False):
            assert (outcome.reason, outcome.state) == ("wrong_state", row.state)
        elif verb is Verb.DELETE:
            assert outcome.done
            del self.world.rows[key]
        elif verb is Verb.RETRY and self._holder(row.key) not in {None, key}:
            assert (outcome.reason, outcome.conflict) == ("conflict", self._holder(row.key))
            self.reached["conflict"] += 1
        else:
            assert outcome.done
            self._apply(row, verb)
            assert (outcome.state, outcome.lease) == (row.state, row.lease)

    @precondition(lambda self: any(row.state is State.AVAILABLE for row in self.world.rows.values()))
    @rule(data=st.data())
    def a_row_changes_hands(self, data: st.DataObject) -> None:
        """Claimed, given back and claimed again: the first claim stays about, and is stale."""
        ready = [
            key
            for key, row in self.world.rows.items()
            if row.state is State.AVAILABLE and row.queue not in self.world.paused
        ]
        if not ready:
            return
        key = data.draw(st.sampled_from(ready), label="key")
        row = self.world.rows[key]
        for turn in ("first", "second"):
            (claim,) = self.store.claim(where=lambda job: job.c.id == key)
            self.world.claims.append(claim)
            row.state, row.attempt, row.lease = State.RUNNING, row.attempt + 1, row.lease + 1
            if turn == "first":
                assert self.store.release(claim)
                self._end(row, Verb.RELEASE)

    # what time brings

    @precondition(lambda self: any(row.state is State.RUNNING for row in self.world.rows.values()))
    @rule(data=st.data())
    def a_worker_dies(self, data: st.DataObject) -> None:
        running = [key for key, row in self.world.rows.items() if row.state is State.RUNNING]
        dead = data.draw(st.lists(st.sampled_from(running), min_size=1, unique=True), label="dead")
        for key in dead:
            self.table.execute(
                f"UPDATE rowqueue_job SET leased_until = leased_until - 7200 * {self.table.second} WHERE id = {key}"
            )
        rescued = {found.key: found for found in self.store.rescue()}
        assert set(rescued) == set(dead)
        for key, found in rescued.items():
            row = self.world.rows[key]
            row.rescues, row.lease, row.errors = row.rescues + 1, row.lease + 1, row.errors + 1
            spent = row.rescues >= 2 or row.attempt >= row.most
            row.state = State.CANCELLED if row.asked else State.DISCARDED if spent else State.AVAILABLE
            assert (found.state, found.lease) == (row.state, row.lease)
            self.reached[f"rescued to {row.state}"] += 1

    @rule()
    def an_hour_passes_for_what_waits(self) -> None:
        due = [row for row in self.world.rows.values() if row.state in {State.SCHEDULED, State.RETRYABLE}]
        self.table.execute(
            f"UPDATE rowqueue_job SET scheduled_at = scheduled_at - 7200 * {self.table.second} "
            "WHERE state IN ('scheduled', 'retryable')"
        )
        assert sum(self.store.promote_due().values()) == len(due)
        for row in due:
            row.state = State.AVAILABLE

    @rule(state=st.sampled_from(sorted(FINAL)))
    def what_is_old_is_pruned(self, state: State) -> None:
        self.table.execute(f"UPDATE rowqueue_job SET finalized_at = finalized_at - {self.table.second}")
        old = [key for key, row in self.world.rows.items() if row.state is state]
        assert self.store.prune(ages={state: 1}) == len(old)
        for key in old:
            del self.world.rows[key]

    @rule(queue=st.sampled_from(QUEUES))
    def pause_or_resume(self, queue: str) -> None:
        if queue in self.world.paused:
            assert not self.store.pause(queue)
            assert self.store.resume(queue)
        else:
            assert not self.store.resume(queue)
            assert self.store.pause(queue)
        self.world.paused ^= {queue}

    # what must hold

    @invariant()
    def the_table_is_the_model(self) -> None:
        found = {job.id: job for job in self.store.list(limit=1000).jobs}
        assert set(found) == set(self.world.rows)
        for key, row in self.world.rows.items():
            job = found[key]
            seen = replace(
                row,
                state=job.state,
                attempt=job.attempt,
                lease=job.lease,
                failures=job.failures,
                rescues=job.rescues,
                snoozes=job.snoozes,
                errors=len(job.errors),
                most=job.max_attempts,
                asked=job.cancel_requested_at is not None,
            )
            assert seen == row
            assert (job.leased_until is not None) is (job.state is State.RUNNING)
            assert (job.finalized_at is not None) is (job.state in FINAL)

    @invariant()
    def nobody_shares_a_unique_key(self) -> None:
        keys = [row.key for row in self.world.rows.values() if row.holds]
        assert len(keys) == len(set(keys))

    def _holder(self, key: str | None) -> int | None:
        found = [number for number, row in self.world.rows.items() if row.holds and row.key == key]
        return found[0] if found else None

    def _write(self, verb: Verb, claim: Claim) -> Outcome:
        match verb:
            case Verb.EXTEND:
                return self.store.extend([claim], lease=7000)[0]
            case Verb.FAIL:
                return self.store.fail(claim, "x")
            case Verb.SNOOZE:
                return self.store.snooze(claim, 3600)
            case _:
                outcome: Outcome = getattr(self.store, verb.value)(claim)
                return outcome

    def _end(self, row: Model, verb: Verb) -> None:
        match verb:
            case Verb.COMPLETE:
                row.state = State.COMPLETED
                return
            case Verb.FAIL:
                row.failures, row.errors = row.failures + 1, row.errors + 1
                row.state = State.DISCARDED if row.attempt >= row.most else State.RETRYABLE
            case Verb.SNOOZE:
                row.snoozes, row.attempt, row.state = row.snoozes + 1, row.attempt - 1, State.SCHEDULED
            case Verb.RELEASE:
                row.attempt, row.state = row.attempt - 1, State.AVAILABLE
            case _:
                row.state = ENDS[verb]
        if row.asked:
            row.state = State.CANCELLED

    def _apply(self, row: Model, verb: Verb) -> None:
        if verb is Verb.CANCEL and row.state is State.RUNNING:
            row.asked = True
            return
        row.lease += 1
        if verb in ENDS:
            row.asked = row.asked or verb is Verb.CANCEL
            row.state = ENDS[verb]
        elif verb is Verb.RETRY:
            row.asked, row.most = False, row.attempt + 1 if row.attempt >= row.most else row.most
            row.state = State.AVAILABLE
        else:
            assert row.state in WAITING
            row.state = State.AVAILABLE


def test_the_store_does_what_the_model_says(tables_url: str, long: bool, publish) -> None:
    policy, reached = RetryPolicy.constant(3600), Counter[str]()
    examples = EXAMPLES or (3000 if long else 200)
    examples = examples * 2 // 3 if tables_url.startswith("sqlite") else examples // 3
    with (
        contextlib.closing(Store(tables_url, retry=policy, max_rescues=2, lease=7000)) as store,
        raw(tables_url) as table,
    ):
        run_state_machine_as_test(
            type("OnThisDatabase", (Machine,), {"store": store, "table": table, "reached": reached}),
            settings=settings(
                max_examples=examples,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
                phases=[Phase.explicit, Phase.generate, Phase.shrink],
            ),
        )
    branches = ", ".join(f"{name} {reached[name]}" for name in sorted(SOMETIMES))
    publish(
        "#3",
        "Hypothesis picks verbs and claims, a dict says what must come of them",
        f"{examples} lives of a store of 25 steps, no divergence; {branches}",
        value=len(SOMETIMES - set(reached)),
        bound="branches that were never reached = 0",
        promise=3,
    )
