"""Small changes of the core and of the statements, each of which some test must notice: guards that are left out, numbers
that are off by one. Where the code moves on, a change that no longer fits says so."""

from dataclasses import dataclass
from pathlib import Path

STATES, UPKEEP = "core/states.py", "sql/statements/upkeep.py"
PARTS, FINISH, CLAIM = ("sql/statements/_parts.py", "sql/statements/finish.py", "sql/statements/claim.py")
MATRIX, OF_STATES = "tests/store/test_transitions.py", "tests/core/test_states.py"
OF_CLAIMS, OF_ENDS, OF_UPKEEP = (
    "tests/store/test_claim.py",
    "tests/store/test_finish.py",
    "tests/store/test_upkeep.py",
)


@dataclass(frozen=True, slots=True)
class Mutation:
    """One change.

    Attributes:
        says: what is wrong then.
        file: below `src/rowqueue`.
        old: what stands there, once.
        new: what is put in its place.
        tests: the files of tests, one of which must fail.
    """

    says: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def apply(self, package: Path) -> None:
        """Change the file of a copy of the package."""
        path = package / self.file
        text = path.read_text()
        assert text.count(self.old) == 1, (
            f"{self.says}: {self.old!r} is {text.count(self.old)} times in {self.file}"
        )
        path.write_text(text.replace(self.old, self.new))


def _of(file: str, *tests: str) -> "_Made":
    return _Made(file, tests)


class _Made(list[Mutation]):
    def __init__(self, file: str, tests: tuple[str, ...]) -> None:
        self._file, self._tests = file, tests

    def but(self, says: str, old: str, new: str) -> "_Made":
        self.append(Mutation(says, self._file, old, new, self._tests))
        return self


MUTATIONS = [
    *_of(STATES, MATRIX, OF_STATES, OF_ENDS)
    .but("a job that is not due is claimed", "CLAIM, _to(State.AVAILABLE)", "CLAIM, _to(State.AVAILABLE, State.SCHEDULED)")
    .but("a running job is deleted", "Transition(Verb.DELETE, FINAL", "Transition(Verb.DELETE, frozenset(_ORDER)")
    .but("a running job is retried", "Verb.RETRY, frozenset(_ORDER) - _RUNNING", "Verb.RETRY, frozenset(_ORDER)")
    .but("a final job is promoted", "_to(State.SCHEDULED, State.RETRYABLE, State.PENDING), _to", "frozenset(_ORDER), _to")
    .but("a final job is cancelled", "Transition(Verb.CANCEL, WAITING", "Transition(Verb.CANCEL, frozenset(_ORDER) - _RUNNING")
    .but("two states share a bit", "return 1 << _ORDER.index(self)", "return 1 << (_ORDER.index(self) // 2)"),
    *_of("core/finish.py", OF_STATES, OF_ENDS)
    .but("one attempt more than allowed", "job.attempt >= job.max_attempts", "job.attempt > job.max_attempts")
    .but("no delay before a retry", "State.RETRYABLE, delay) if delay > 0", "State.RETRYABLE, delay) if delay > 1e9"),
    *_of("core/policies.py", "tests/core/test_policies.py")
    .but("jitter only adds", "(2 * random - 1)", "(2 * random)")
    .but("the last delay of a schedule is skipped", "min(attempt, len(steps)) - 1", "min(attempt, len(steps)) - 2")
    .but("no longest delay", "return min(most, first * factor", "return max(0, first * factor"),
    *_of("core/payload.py", "tests/core/test_payload.py")
    .but("one byte more than the limit", "if size > limit:", "if size > limit + 1:"),
    *_of(PARTS, MATRIX, OF_ENDS)
    .but("the lease is not looked at", "*self.fences_match(c, given), c.is_in", "c.is_in")
    .but("a job that ended is ended again", "*self.fences_match(c, given), c.is_in(State.RUNNING))", "*self.fences_match(c, given))"),
    *_of(FINISH, MATRIX, OF_ENDS)
    .but("failures are not counted", "c.failures + const(1)", "c.failures + const(0)")
    .but("a job given back is charged", "parts.c.attempt - const(1)", "parts.c.attempt - const(0)")
    .but("snoozes are not counted", "parts.c.snoozes + const(1)", "parts.c.snoozes")
    .but("a stale lease is renewed", "*parts.fences_match(held, given), held.is_in", "held.is_in")
    .but("progress of a stale worker", "parts.is_fence(c), c.is_in(State.RUNNING)", "c.is_in(State.RUNNING)")
    .but("a stale worker's log entry", '        c.lease == param("lease", sa.BigInteger()),\n        c.is_in', "        c.is_in")
    .but("a cancelled job fails on", "target = parts.unless_cancelled(given.c.state)", "target = given.c.state"),
    *_of(CLAIM, OF_CLAIMS, MATRIX)
    .but("starts are not counted", "c.attempt + const(1)", "c.attempt + const(0)")
    .but("two claims with one lease", "c.lease + const(1)", "c.lease + const(0)")
    .but("a paused queue is worked", "*conditions, ~_paused(parts, queue))", "*conditions)")
    .but("newest first", "ready.priority, ready.scheduled_at, *ready.key)\n        .limit(param", "ready.priority, ready.scheduled_at.desc(), *ready.key)\n        .limit(param"),
    *_of(UPKEEP, OF_UPKEEP, MATRIX)
    .but("a healthy job is rescued", "parts.expired(left), left.is_in", "left.is_in")
    .but("one crash more than allowed", "c.rescues + const(1) >= param", "c.rescues + const(1) > param")
    .but("a crash at the last attempt", "c.attempt >= c.max_attempts", "c.attempt > c.max_attempts")
    .but("a rescue leaves the lease valid", '"lease": c.lease + const(1)', '"lease": c.lease + const(0)')
    .but("crashes are not counted", '"rescues": c.rescues + const(1)', '"rescues": c.rescues')
    .but("a cancelled job is rescued to run again", "    target = parts.unless_cancelled(target)\n", "")
    .but("young jobs are pruned", "old.finalized_at <= parts", "old.finalized_at >= parts"),
    *_of("operations/answers.py", OF_ENDS, MATRIX)
    .but("the wrong reason", '"lost" if row.fence != fence', '"lost" if row.fence == fence'),
    *_of("operations/finish.py", OF_ENDS)
    .but("an old claim passes for the new", "and len({item.claim.key for item in finishes}) == len(finishes)", "and True"),
]  # fmt: skip
