"""A store on apsw: the store's own driver for SQLite over a connection whose file system is Python (a VFS).

Only the connection is exchanged. Statements, transactions, retries and the meaning of errors are the product's.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any, Protocol

import apsw

from rowqueue.operations.settings import StoreSettings
from rowqueue.store.database import Database
from rowqueue.store.drivers.sqlite import prepare, translate
from rowqueue.store.store import Store


class Watch(Protocol):
    """What is told of every call to a file system, and may raise before it is made."""

    def before(self, call: str, path: str) -> None: ...
    def after(self, call: str, path: str, *args: Any) -> None: ...


class WatchedFile(apsw.VFSFile):
    """A file of the operating system's, each of whose calls is told to a watch."""

    def __init__(self, watch: Watch, name: Any, flags: list[int]) -> None:
        self._watch = watch
        self._path = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        super().__init__("", name, flags)

    def _told(self, call: str, run: Any, *args: Any) -> Any:
        self._watch.before(call, self._path)
        answer = run(*args)
        self._watch.after(call, self._path, *args)
        return answer

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - SQLite's names
        found: bytes = self._told("xRead", super().xRead, amount, offset)
        return found

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._told("xWrite", super().xWrite, bytes(data), offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._told("xTruncate", super().xTruncate, size)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._told("xSync", super().xSync, flags)

    def xLock(self, level: int) -> None:  # noqa: N802
        self._told("xLock", super().xLock, level)

    def xFileSize(self) -> int:  # noqa: N802
        size: int = self._told("xFileSize", super().xFileSize)
        return size


class WatchedVFS(apsw.VFS):
    """The operating system's file system under a name of its own, watched."""

    def __init__(self, name: str, watch: Watch) -> None:
        self._watch = watch
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> WatchedFile:  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        self._watch.before("xOpen", path)
        file = WatchedFile(self._watch, name, flags)
        self._watch.after("xOpen", path, flags[0])
        return file

    def xDelete(self, path: str, syncdir: bool) -> None:  # noqa: N802
        self._watch.before("xDelete", path)
        super().xDelete(path, syncdir)
        self._watch.after("xDelete", path, syncdir)

    def xAccess(self, path: str, flags: int) -> bool:  # noqa: N802
        self._watch.before("xAccess", path)
        return super().xAccess(path, flags)


class _Rows(list[Any]):
    def fetchall(self) -> list[Any]:
        return self

    def fetchone(self) -> Any:
        return self[0] if self else None


class Connection:
    """As much of `sqlite3.Connection` as the driver uses, with the same errors."""

    def __init__(self, path: str, vfs: str | None) -> None:
        self.isolation_level: Any = None
        with _errors():
            self._raw = apsw.Connection(path, vfs=vfs)

    def execute(self, sql: str, parameters: Any = ()) -> _Rows:
        with _errors():
            return _Rows(self._raw.cursor().execute(sql, parameters))

    @property
    def in_transaction(self) -> bool:
        return not self._raw.getautocommit()

    def close(self) -> None:
        with contextlib.suppress(apsw.Error):  # that of the standard library does not tell either
            self._raw.close(True)


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        said = sqlite3.OperationalError(
            str(error).removeprefix(f"{type(error).__name__}: ")
        )  # apsw before 3.42
        said.sqlite_errorcode = getattr(error, "extendedresult", None) or getattr(error, "result", None)  # type: ignore[assignment]
        raise said from None


class ApswDatabase(Database):
    """An SQLite file behind a VFS.

    Args:
        path: of the file.
        vfs: the name of the VFS.
        pragmas: what a connection runs after it was set up.
        synchronous: FULL or NORMAL.
    """

    def __init__(self, path: str, vfs: str, *pragmas: str, synchronous: str = "FULL") -> None:
        super().__init__(f"sqlite:///{path}", synchronous=synchronous)
        self._vfs = vfs
        self._pragmas = pragmas

    def connect(self) -> Any:
        try:
            raw: Any = Connection(self.url.database or "", self._vfs)
        except sqlite3.Error as error:
            raise translate(error) from None
        try:
            prepare(raw, synchronous=self.synchronous)
            for pragma in self._pragmas:
                raw.execute(f"PRAGMA {pragma}")
        except BaseException:
            raw.close()
            raise
        return raw


def apsw_store(database: ApswDatabase, **settings: Any) -> Store:
    """A store on it."""
    return Store.over(database, StoreSettings(**settings))


def install() -> None:
    """From now on every store on SQLite is on apsw, and so on its version of SQLite; tests look at the file by `sqlite3`."""

    def connect(database: Database) -> Any:
        raw: Any = Connection(database.url.database or "", None)
        prepare(raw, synchronous=database.synchronous)
        return raw

    Database._connect_sqlite = connect  # type: ignore[method-assign]
