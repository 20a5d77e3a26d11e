"""Tables of users: of any shape, made, filled and looked at by SQLAlchemy, past the store."""

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from hypothesis import strategies as st
from sqlalchemy.dialects import mysql
from sqlalchemy.pool import NullPool

from rowqueue.core.policies import RetryPolicy
from rowqueue.sql.mapping import JobTable
from rowqueue.store.store import Store
from tests.support.stores import driver_url

FENCES = ("lease", "attempted_at", "none")
EXPIRIES = ("leased_until", "heartbeat_at", "none")
OPTIONAL = ("scheduled_at", "finalized_at", "failures", "rescues", "attempt", "attempted_by", "priority")
KEYS = ("integer", "text", "uuid", "composite")


@dataclass(frozen=True, slots=True)
class Shape:
    """What a user's table looks like."""

    table: str = "uploads"
    key: str = "integer"
    fence: str = "lease"
    expiry: str = "leased_until"
    optional: frozenset[str] = frozenset(OPTIONAL)
    prefix: str = ""
    words: tuple[str, str, str, str] = ("available", "running", "completed", "discarded")
    retryable: str | None = None
    view: bool = False
    columns: tuple[str, ...] = field(default=())

    def has(self, name: str) -> bool:
        return name in self.optional

    @property
    def keys(self) -> tuple[str, ...]:
        return ("part", "number") if self.key == "composite" else ("id",)


identifiers = st.text(st.sampled_from("abcXYZ_ 0-'\";%:$é"), min_size=1, max_size=12).filter(
    lambda name: name.strip() == name and name.lower() not in {"id", "part", "number", "note"}
)
words = st.lists(
    st.text(st.sampled_from("abcQ '%:-"), min_size=1, max_size=10), min_size=4, max_size=4, unique=True
)

shapes = st.builds(
    Shape,
    table=identifiers,
    key=st.sampled_from(KEYS),
    fence=st.sampled_from(FENCES),
    expiry=st.sampled_from(EXPIRIES),
    optional=st.frozensets(st.sampled_from(OPTIONAL)),
    prefix=st.sampled_from(["", "x_", 'we "ird% ', "Ü:"]),
    words=words.map(tuple),  # type: ignore[arg-type]
    retryable=st.sampled_from([None, "err'or"]),
    view=st.booleans(),
)


_MOMENTS: dict[str, Any] = {
    "sqlite": sa.BigInteger(),
    "postgresql": sa.DateTime(timezone=True),
    "mariadb": mysql.DATETIME(fsp=6),
}
_PAST = {
    "sqlite": sa.text("0"),
    "postgresql": sa.text("now() - interval '1 day'"),
    "mariadb": sa.text("utc_timestamp() - interval 1 day"),
}


class Made:
    """A shape that is there: the table, rows in it, a mapping and a store on it."""

    def __init__(self, engine: sa.Engine, shape: Shape, rows: int) -> None:
        self.engine = engine
        self.shape = shape
        self.metadata = sa.MetaData()
        self.table = self._define()
        self.canary = sa.Table("canary", self.metadata, sa.Column("value", sa.Text))
        self.metadata.create_all(engine)
        self.view = f"{shape.table} v"
        self.count = rows
        with engine.begin() as connection:
            self._fill(connection)
            connection.execute(self.canary.insert().values(value="sings"))
            if shape.view:
                select = str(sa.select(self.table).compile(dialect=engine.dialect))
                self.run(connection, f"CREATE VIEW {self.quoted(self.view)} AS {self.once(select)}")
        self.store = Store(engine, self.mapping(), **self.options())
        self.store.init()

    def _fill(self, connection: sa.Connection) -> None:
        connection.execute(self.table.insert(), [self._row(number) for number in range(self.count)])

    def refill(self) -> None:
        """Put the rows back as they were made, and forget their leases."""
        sidecar = self.store._statements.layout.sidecar
        with self.engine.begin() as connection:
            for table in filter(lambda table: table is not None, (sidecar, self.table)):
                connection.execute(sa.delete(table))
            self._fill(connection)

    def once(self, sql: str) -> str:
        """SQLAlchemy's text with each percent sign once: some drivers' are doubled."""
        return sql if self.kind == "sqlite" else sql.replace("%%", "%")

    def quoted(self, name: str) -> str:
        return self.once(self.engine.dialect.identifier_preparer.quote(name))

    def run(self, connection: sa.Connection, sql: str) -> None:
        """DDL with hostile names in it, past SQLAlchemy's and the driver's placeholders."""
        with contextlib.closing(connection.connection.cursor()) as cursor:
            cursor.execute(sql)

    def _define(self) -> sa.Table:
        shape = self.shape
        text = sa.Text().with_variant(sa.String(60), "mariadb")
        kinds = {"text": text, "uuid": sa.Text() if self.kind == "sqlite" else sa.Uuid()}
        if shape.key == "composite":
            keys = [
                sa.Column("part", text, primary_key=True),
                sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
            ]
        else:
            keys = [
                sa.Column("id", kinds.get(shape.key, sa.Integer()), primary_key=True, autoincrement=False)
            ]
        moment = _MOMENTS[self.kind]
        zero: dict[str, Any] = {"nullable": False, "server_default": sa.text("0")}
        columns = {
            "lease": sa.Column(self.name("lease"), sa.BigInteger, **zero),
            "attempt": sa.Column(self.name("attempt"), sa.Integer, **zero),
            "failures": sa.Column(self.name("failures"), sa.Integer, **zero),
            "rescues": sa.Column(self.name("rescues"), sa.Integer, **zero),
            "priority": sa.Column(self.name("priority"), sa.Integer, **zero),
            "attempted_by": sa.Column(self.name("attempted_by"), sa.Text),
        }
        columns |= {
            name: sa.Column(self.name(name), moment)
            for name in ("attempted_at", "leased_until", "heartbeat_at", "scheduled_at", "finalized_at")
        }
        chosen = [columns[name] for name in columns if name in self.there]
        state = sa.Column(self.name("state"), text, nullable=False)
        return sa.Table(shape.table, self.metadata, *keys, state, *chosen, sa.Column("note", sa.Text))

    @property
    def kind(self) -> str:
        return self.engine.dialect.name

    @property
    def there(self) -> set[str]:
        return {self.shape.fence, self.shape.expiry, *self.shape.optional} - {"none"}

    def name(self, ours: str) -> str:
        return f"{self.shape.prefix}{ours}"

    def _row(self, number: int) -> dict[str, Any]:
        shape = self.shape
        key: Any = {"text": f"k{number:06}", "uuid": uuid.UUID(int=number + 1)}.get(shape.key, number)
        if shape.key == "uuid" and self.kind == "sqlite":
            key = str(key)
        keys = {"part": "p", "number": number} if shape.key == "composite" else {"id": key}
        return {**keys, self.name("state"): shape.words[0], "note": f"note {number}"}

    def mapping(self) -> JobTable:
        shape = self.shape
        states = dict(zip(("available", "running", "completed", "discarded"), shape.words, strict=True))
        if shape.retryable is not None:
            states["retryable"] = shape.retryable
        return JobTable(
            shape.table,
            view=self.view if shape.view else None,
            key=shape.keys if shape.key == "composite" else "id",
            columns={ours: self.name(ours) for ours in (*self.there, "state")},
            states=states,
        )

    def options(self) -> dict[str, Any]:
        delay = 30 if self.shape.has("scheduled_at") else 0
        return {"retry": RetryPolicy.constant(delay), "max_failures": 3, "max_rescues": 2, "lease": 60}

    def rows(self) -> dict[Any, dict[str, Any]]:
        """The table's rows by key, with our names for what is mapped."""
        with self.engine.connect() as connection:
            found = connection.execute(sa.select(self.table)).mappings().all()
        names = {self.name(ours): ours for ours in (*self.there, "state")}
        made = [{names.get(column, column): value for column, value in row.items()} for row in found]
        keys = self.shape.keys
        return {(tuple(row[k] for k in keys) if len(keys) > 1 else row[keys[0]]): row for row in made}

    def expire(self) -> None:
        """Let every lease run out, wherever it is."""
        layout = self.store._statements.layout
        past: Any = _PAST[self.kind]
        table, column = self.table, self.name(self.shape.expiry)
        if layout.sidecar is not None:
            table, column = layout.sidecar, "leased_until"
        with self.engine.begin() as connection:
            update = sa.update(table).where(table.c[column].is_not(None)).values({table.c[column]: past})
            connection.execute(update)

    def is_untouched(self) -> bool:
        """Nothing that is not mapped was written."""
        with self.engine.connect() as connection:
            canary = connection.execute(sa.select(self.canary)).scalars().all()
        return canary == ["sings"] and all(
            str(row["note"]).startswith("note ") for row in self.rows().values()
        )


@contextlib.contextmanager
def made(url: str, shape: Shape, rows: int = 6) -> Iterator[Made]:
    """Make a shape on a database, and remove it again."""
    engine = sa.create_engine(driver_url(url), poolclass=NullPool)
    with contextlib.closing(engine.connect()) as connection:
        before = {(kind, name) for kind in ("table", "view") for name in _names(connection, kind)}
    try:
        there = Made(engine, shape, rows)
        try:
            yield there
        finally:
            there.store.close()
    finally:
        with engine.begin() as connection:
            for kind in ("view", "table"):
                for name in _names(connection, kind):
                    if (kind, name) not in before:
                        quoted = engine.dialect.identifier_preparer.quote_identifier(name)
                        quoted = quoted if engine.dialect.name == "sqlite" else quoted.replace("%%", "%")
                        with contextlib.closing(connection.connection.cursor()) as cursor:
                            cursor.execute(f"DROP {kind} {quoted}")
        engine.dispose()


def _names(connection: sa.Connection, kind: str) -> list[str]:
    inspect = sa.inspect(connection)
    return inspect.get_view_names() if kind == "view" else inspect.get_table_names()
