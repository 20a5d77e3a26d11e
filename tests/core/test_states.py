"""The table of transitions: closed, without dead ends, and fenced where a worker writes (reliability #2)."""

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rowqueue.core.finish import after_failure
from rowqueue.core.policies import RetryPolicy
from rowqueue.core.states import (
    FINAL,
    TRANSITIONS,
    UNFINISHED,
    WAITING,
    State,
    Verb,
    mask_of,
    sources_of,
    states_of,
)
from tests.core.jobs import a_job


def test_states_are_parted_into_final_waiting_and_running():
    assert FINAL | WAITING | {State.RUNNING} == set(State)
    assert not FINAL & UNFINISHED
    assert {state for state in State if state.is_final} == FINAL


def test_every_verb_is_in_the_table_once_for_each_source_and_fence():
    assert {row.verb for row in TRANSITIONS} == set(Verb)
    seen = [(row.verb, row.fenced, state) for row in TRANSITIONS for state in row.sources]
    assert len(seen) == len(set(seen))


def test_fenced_rows_start_from_running_alone():
    for row in TRANSITIONS:
        if row.fenced:
            assert row.sources == {State.RUNNING}
        assert sources_of(row.verb, fenced=row.fenced) >= row.sources
    assert sources_of(Verb.COMPLETE, fenced=False) == frozenset()


def test_final_jobs_change_only_by_a_person():
    leaving = {row.verb for row in TRANSITIONS if row.sources & FINAL}
    assert leaving == {Verb.RETRY, Verb.DELETE}


def test_a_running_job_is_touched_past_its_worker_by_three_verbs_alone():
    by_others = {row.verb for row in TRANSITIONS if State.RUNNING in row.sources and not row.fenced}
    assert by_others == {Verb.CANCEL, Verb.DISCARD, Verb.RESCUE}


def test_every_state_is_reached_and_every_unfinished_one_leads_to_an_end():
    edges = {
        (source, target) for row in TRANSITIONS for source in row.sources or {None} for target in row.targets
    }
    reached = {target for source, target in edges if source is None}
    while more := {target for source, target in edges if source in reached} - reached:
        reached |= more
    assert reached == set(State)
    ends = set(FINAL)
    while more := {source for source, target in edges if target in ends and source is not None} - ends:
        ends |= more
    assert ends >= UNFINISHED


def test_masks_pack_sets_of_states():
    assert mask_of(frozenset()) == 0
    assert mask_of(frozenset(State)) == 511 < 2**15
    for state in State:
        assert states_of(state.bit) == {state}
        assert states_of(mask_of(frozenset(State) - {state})) == frozenset(State) - {state}


class Life(RuleBasedStateMachine):
    """One job that follows the table and the policies: counters and states always agree."""

    def __init__(self):
        super().__init__()
        self.state: State | None = State.AVAILABLE
        self.attempt = self.lease = self.failures = self.free = 0
        self.most = 3

    def go(self, verb: Verb, target: State | None, *, fenced: bool = False) -> None:
        assert self.state in sources_of(verb, fenced=fenced)
        allowed = [
            row.targets
            for row in TRANSITIONS
            if row.verb is verb and row.fenced is fenced and self.state in row.sources
        ]
        assert any(target in targets if targets else target is None for targets in allowed)
        self.state = target

    @precondition(lambda self: self.state is State.AVAILABLE)
    @rule()
    def claim(self):
        self.go(Verb.CLAIM, State.RUNNING)
        self.attempt, self.lease = self.attempt + 1, self.lease + 1

    @precondition(lambda self: self.state is State.RUNNING)
    @rule(random=st.floats(0, 1, exclude_max=True), base=st.sampled_from([0, 1, 60]))
    def fail(self, random, base):
        job = a_job(state=State.RUNNING, attempt=self.attempt, max_attempts=self.most)
        target, delay = after_failure(job, RetryPolicy.constant(base), random=random)
        assert (target is State.DISCARDED) is (self.attempt >= self.most)
        assert (delay > 0) is (target is State.RETRYABLE)
        self.go(Verb.FAIL, target, fenced=True)
        self.failures += 1

    @precondition(lambda self: self.state is State.RUNNING)
    @rule(verb=st.sampled_from([Verb.SNOOZE, Verb.RELEASE]))
    def give_back(self, verb):
        self.go(verb, State.SCHEDULED if verb is Verb.SNOOZE else State.AVAILABLE, fenced=True)
        self.attempt -= 1
        self.free += 1

    @precondition(lambda self: self.state in {State.SCHEDULED, State.RETRYABLE, State.PENDING})
    @rule()
    def promote(self):
        self.go(Verb.PROMOTE, State.AVAILABLE)

    @precondition(lambda self: self.state is State.RUNNING)
    @rule(verb=st.sampled_from([Verb.COMPLETE, Verb.SKIP, Verb.CANCEL, Verb.DISCARD]))
    def end(self, verb):
        ends = {
            Verb.COMPLETE: State.COMPLETED,
            Verb.SKIP: State.SKIPPED,
            Verb.CANCEL: State.CANCELLED,
            Verb.DISCARD: State.DISCARDED,
        }
        self.go(verb, ends[verb], fenced=True)

    @precondition(lambda self: self.state not in {State.RUNNING, None})
    @rule()
    def retry(self):
        self.go(Verb.RETRY, State.AVAILABLE)
        self.lease += 1
        self.most = max(self.most, self.attempt + 1)

    @precondition(lambda self: self.state in FINAL)
    @rule()
    def delete_and_begin_anew(self):
        self.go(Verb.DELETE, None)
        self.__init__()

    @invariant()
    def counters_agree(self):
        running = self.state is State.RUNNING
        assert 0 <= self.attempt <= self.most
        assert self.failures <= self.attempt
        assert self.lease >= self.attempt + self.free
        assert not running or self.attempt >= 1


def lived(lives: int, steps: list[str], *phases: Phase) -> None:
    """So many lives of up to 50 steps, each step noted; raises where a machine and the table part."""

    class Noted(Life):
        def go(self, verb: Verb, target: State | None, *, fenced: bool = False) -> None:
            steps.append(verb)
            super().go(verb, target, fenced=fenced)

    chosen = settings(
        max_examples=lives, stateful_step_count=50, deadline=None, phases=phases or tuple(Phase)
    )
    run_state_machine_as_test(Noted, settings=chosen)


def test_a_life_keeps_to_the_table(publish, long: bool):
    lives, steps = 2000 if long else 100, list[str]()
    lived(lives, steps)
    verbs = len(set(steps))
    publish(
        "#2",
        "lives of a job by the table and the policies",
        f"{lives:,} lives, {len(steps):,} steps by {verbs} verbs, 0 that part from the table",
        value=verbs,
        bound="verbs >= 11",
        promise=3,
    )


def test_a_policy_that_forgets_to_end_is_found(publish, monkeypatch: pytest.MonkeyPatch):
    """A negative control: a failed job is always run again."""
    steps = list[str]()
    monkeypatch.setattr(f"{__name__}.after_failure", lambda *_, **__: (State.RETRYABLE, 1.0))
    with pytest.raises(AssertionError):
        lived(100, steps, Phase.generate)  # found is enough: no search for the shortest
    publish.control(
        "#2",
        "a policy that never discards",
        "found",
        value=1,
        bound="found = 1",
        promise=3,
    )
