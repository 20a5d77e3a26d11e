"""Connections that fail at a chosen statement: before it ran, or after it, when only the reply is lost (#14).

After a fault the connection is gone, as it would be: what was not committed is undone by the database.
"""

from typing import Any, Literal

from rowqueue.core.errors import DatabaseUnavailable
from rowqueue.sql.compiled import Call, Rows
from rowqueue.store.pools import Pool
from rowqueue.store.store import Store

When = Literal["before", "after"]


class Faults:
    """Counts the statements of an operation, and breaks one of them, once."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._at: int | None = None
        self._when: When = "before"
        self.struck = False

    def watch(self, at: int | None = None, when: When = "before") -> None:
        """Start counting anew; break the statement of that number (none: only count)."""
        self.seen, self._at, self._when, self.struck = [], at, when, False

    def due(self, name: str, when: When) -> bool:
        """Whether to break now."""
        if when == "before":
            self.seen.append(name)
        strikes = not self.struck and self._at == len(self.seen) - 1 and self._when == when
        self.struck = self.struck or strikes
        return strikes


class FaultyConnection:
    """A connection of the store's that breaks when its faults say so."""

    def __init__(self, inner: Any, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults
        self._gone = False
        self.statements = inner.statements

    def execute(self, call: Call) -> Rows:
        rows: Rows = self._guard(call.statement.name, lambda: self._inner.execute(call))
        return rows

    def begin(self) -> None:
        self._guard("BEGIN", self._inner.begin)

    def commit(self) -> None:
        self._guard("COMMIT", self._inner.commit)

    def rollback(self) -> None:
        if self._gone:
            raise DatabaseUnavailable("the connection is gone")
        self._inner.rollback()

    def usable(self) -> bool:
        return not self._gone and self._inner.usable()

    def close(self) -> None:
        self._inner.close()

    def _guard(self, name: str, run: Any) -> Any:
        if self._gone:
            raise DatabaseUnavailable("the connection is gone")
        if self._faults.due(name, "before"):
            self._break(f"before {name}")
        try:
            return run()
        finally:  # a refusal is a reply, too
            if self._faults.due(name, "after"):
                self._break(f"after {name}, its reply was lost")

    def _break(self, words: str) -> None:
        self._gone = True
        self._inner.close()
        raise DatabaseUnavailable(f"a fault {words}")


class FaultyPool(Pool):
    """A pool whose connections break."""

    def __init__(self, store: Store, faults: Faults) -> None:
        super().__init__(store.database, store._statements, 4)
        self._faults = faults

    def _take(self, kind: str) -> Any:
        inner = super()._take(kind)
        return inner if isinstance(inner, FaultyConnection) else FaultyConnection(inner, self._faults)


def faulty_store(url: str, **options: Any) -> tuple[Store, Faults]:
    """A store, and what decides where it breaks."""
    store, faults = Store(url, **options), Faults()
    store._pool.close()
    store._pool = FaultyPool(store, faults)
    return store, faults
