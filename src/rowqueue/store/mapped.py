"""Opening a store on a table of the user's: the mapping is checked against what is really there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from rowqueue.core.errors import ConfigurationError, FeatureMissing
from rowqueue.core.states import State
from rowqueue.operations.settings import StoreSettings
from rowqueue.sql.codecs import codec_for, is_exact
from rowqueue.sql.dialects import Dialect
from rowqueue.sql.layout import Field, Layout, missing
from rowqueue.sql.mapping import KNOWN, JobTable
from rowqueue.sql.statements.refresh import sidecar_table
from rowqueue.sql.statements.sidecar import lease_table
from rowqueue.store.database import Database
from rowqueue.store.doctor import inspector

_FENCE = ("lease", "attempted_at", "attempt", "attempted_by")


def layout_of(database: Database, table: JobTable, settings: StoreSettings) -> Layout:
    """Reflect the table, and its view, and put our names on them.

    Args:
        database: where they are.
        table: the mapping.
        settings: the store's, for limits and delays.

    Raises:
        ConfigurationError: a table or column is not there, or the key is not unique.
        FeatureMissing: there is no column for what a queue cannot do without.
        DatabaseUnavailable: it cannot be reached.
    """
    if table.read_only:
        return _read_only(database, table, settings)
    with inspector(database) as inspect:
        base = _reflect(inspect, table.name, table.schema)
        view = None if table.view is None else _reflect(inspect, table.view, table.schema)
        _check_key(inspect, table, base, view)
        heap = _is_heap(inspect, table)
        fields = _fields(table, base, database.dialect)
        _check_words(inspect, table, base, fields)
    fence = _fence(fields, base, database.dialect)
    expires = "leased_until" in fields or "heartbeat_at" in fields
    sidecar = None
    if not (expires and set(fence) & {"lease", "attempted_at"}):
        sidecar = lease_table(table.name, base, table.keys, settings.prefix, settings.schema)
    layout = Layout(
        base=base,
        fields=fields,
        key=table.keys,
        states=_states(table),
        fence=() if sidecar is not None else fence,
        sidecar=sidecar,
        defaults=missing(database.dialect, table.name, settings.limit),
        view=view,
        order_by=table.order_by,
        where=table.where,
        select=table.select,
        heap=heap,
        retry_on_read=settings.retry.delay(1, random=0.5) if table.retry_on_read else None,
        max_failures=settings.max_failures,
        rescue_after=table.rescue_seconds,
        claim_expired=table.claim_expired,
        statements=table.statements,
    )
    _check_essentials(layout)
    if settings.retry.delay(1, random=0.5):
        layout.check_delay()
    columns = [*(base if view is None else view).c.keys(), *_labels(table, base if view is None else view)]
    return dataclasses.replace(layout, record=_maker(table.record, columns))


def _read_only(database: Database, table: JobTable, settings: StoreSettings) -> Layout:
    """A source that may not be written, worked through a sidecar of ours."""
    with inspector(database) as inspect:
        source = _reflect(inspect, table.view or table.name, table.schema)
    for name in table.keys:
        if name not in source.c:
            raise ConfigurationError(
                f"{source.fullname} has no column {name!r}, which the mapping's key names"
            )
    base = sidecar_table(table.name, source, table.keys, settings.prefix, settings.schema)
    ours = {
        column.name.removeprefix("rowqueue_"): column.name
        for column in base.c
        if column.name not in table.keys
    }
    layout = Layout(
        base=base,
        fields={name: Field(column) for name, column in ours.items()},
        key=table.keys,
        defaults=missing(database.dialect, table.name, settings.limit),
        view=source,
        order_by=table.order_by,
        where=table.where,
        select=table.select,
        read_only=True,
    )
    columns = [*source.c.keys(), *_labels(table, source)]
    return dataclasses.replace(layout, record=_maker(table.record, columns))


def _reflect(inspect: sa.Inspector, name: str, schema: str | None) -> sa.Table:
    try:
        table = sa.Table(name, sa.MetaData(), schema=schema)
        inspect.reflect_table(table, None, resolve_fks=False)
    except exc.NoSuchTableError:
        where = f" in schema {schema}" if schema else ""
        raise ConfigurationError(
            f"there is no table or view {name!r}{where}: check the mapping's name"
        ) from None
    if inspect.dialect.name == "sqlite":
        _take_as_stored(inspect, table)
    if inspect.dialect.name in {"mariadb", "mysql"}:
        return _as_declared(inspect, table)
    return table


def _as_declared(inspect: sa.Inspector, table: sa.Table) -> sa.Table:
    """With each text's collation, by which its index is sorted; and names as they are.

    SQLAlchemy takes the collation of a column only where it is not the table's, and doubles the percent signs in
    the names of a view's columns.
    """
    declared = sa.text(
        "SELECT column_name, collation_name FROM information_schema.columns "
        "WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :name ORDER BY ordinal_position"
    )
    with inspect.engine.connect() as connection:
        found = connection.execute(declared, {"schema": table.schema, "name": table.name}).all()
    columns = []
    for column, (name, collation) in zip(table.columns, found, strict=True):
        type_ = column.type
        if isinstance(type_, sa.String) and not isinstance(type_, sa.Enum) and collation is not None:
            type_ = sa.String(getattr(type_, "length", None), collation=collation)
        columns.append(sa.Column(name, type_, primary_key=column.primary_key, nullable=column.nullable))
    return sa.Table(table.name, sa.MetaData(), *columns, schema=table.schema)


def _take_as_stored(inspect: sa.Inspector, table: sa.Table) -> None:
    """SQLite stores any text in a column declared ``uuid``; SQLAlchemy takes every unknown word for a number."""
    declared = sa.text("SELECT name, lower(type) FROM pragma_table_info(:name)")
    with inspect.engine.connect() as connection:
        types = dict(tuple(row) for row in connection.execute(declared, {"name": table.name}))
    for column in table.columns:
        if isinstance(column.type, sa.Numeric) and not types.get(column.name, "").startswith(("num", "dec")):
            column.type = sa.types.NullType()


def _check_key(inspect: sa.Inspector, table: JobTable, base: sa.Table, view: sa.Table | None) -> None:
    for name in table.keys:
        for source in filter(lambda source: source is not None, (base, view)):
            if source is not None and name not in source.c:
                raise ConfigurationError(
                    f"{source.fullname} has no column {name!r}, which the mapping's key names"
                )
    unique: list[set[Any]] = [
        set(inspect.get_pk_constraint(table.name, schema=table.schema)["constrained_columns"])
    ]
    unique += [
        set(u["column_names"]) for u in inspect.get_unique_constraints(table.name, schema=table.schema)
    ]
    unique += [
        set(index["column_names"])
        for index in inspect.get_indexes(table.name, schema=table.schema)
        if index["unique"]
    ]
    if not any(columns and columns <= set(table.keys) for columns in unique):
        if table.name in inspect.get_view_names(table.schema):
            raise ConfigurationError(
                f"{base.fullname} is a view, whose rows cannot be locked: name its table, and the view as view=..., or "
                "work it through a sidecar, read_only=True"
            )
        raise ConfigurationError(
            f"({', '.join(table.keys)}) is not unique in {base.fullname}: name its primary key, or add a unique index"
        )


def _check_words(inspect: sa.Inspector, table: JobTable, base: sa.Table, fields: Mapping[str, Field]) -> None:
    """Refuse words for states that the column's own enum or CHECK refuses."""
    if table.states is None or "state" not in fields:
        return
    column, words = base.c[fields["state"].name], sorted(set(table.states.values()))
    refused: list[str] = []
    if isinstance(column.type, sa.Enum):
        refused = [word for word in words if word not in column.type.enums]
    else:
        for check in inspect.get_check_constraints(table.name, schema=table.schema):
            if column.name in check["sqltext"]:
                refused += _refused(inspect.engine, column, check["sqltext"], words)
    if refused:
        raise ConfigurationError(
            f"the column {column.name!r} of {base.fullname} does not take {', '.join(map(repr, sorted(set(refused))))}, "
            "which the mapping names in states={...}: map the words that it takes, or change its CHECK or enum"
        )


def _refused(engine: sa.Engine, column: sa.Column[Any], check: str, words: Sequence[str]) -> list[str]:
    """The words for which the database itself says that a CHECK is false."""
    type_ = sa.Text() if isinstance(column.type, sa.types.NullType) else column.type
    refused = []
    for word in words:
        row = sa.select(sa.type_coerce(sa.literal(word), type_).label(column.name)).subquery("one")
        try:
            with engine.connect() as connection:
                answer = connection.execute(
                    sa.select(sa.literal_column(f"({check})")).select_from(row)
                ).scalar()
        except exc.DBAPIError:  # it is about other columns, too
            return []
        if answer is not None and not answer:
            refused.append(word)
    return refused


def _is_heap(inspect: sa.Inspector, table: JobTable) -> bool:
    """A plain table of PostgreSQL's; a partitioned or foreign one has no ctid to go by."""
    if inspect.dialect.name != "postgresql":
        return True
    name = sa.literal(
        inspect.dialect.identifier_preparer.format_table(sa.table(table.name, schema=table.schema))
    )
    kind = sa.text("SELECT relkind FROM pg_catalog.pg_class WHERE oid = to_regclass(:name)")
    with inspect.engine.connect() as connection:
        return connection.execute(kind, {"name": name.value}).scalar() in {"r", b"r"}


def _fields(table: JobTable, base: sa.Table, dialect: Dialect) -> dict[str, Field]:
    found: dict[str, Field] = {}
    for ours in KNOWN:
        asked = table.column(ours)
        if asked is None:
            continue
        if asked.name in base.c:
            found[ours] = Field(asked.name, codec_for(ours, base.c[asked.name], asked.codec, dialect))
        elif ours in table.columns:
            raise ConfigurationError(
                f"{base.fullname} has no column {asked.name!r}, which the mapping names for {ours}: "
                f"there are {', '.join(base.c.keys())}"
            )
    return found


def _states(table: JobTable) -> dict[State, str]:
    if table.states is None:
        return {state: state.value for state in State}
    return {State(ours): word for ours, word in table.states.items()}


def _fence(fields: Mapping[str, Field], base: sa.Table, dialect: Dialect) -> tuple[str, ...]:
    """Every mapped column that tells one claim from another; a coarse claim time does not."""
    return tuple(
        name
        for name in _FENCE
        if name in fields
        and fields[name].codec.into is None  # it shares its column with others of ours
        and (name != "attempted_at" or is_exact(base.c[fields[name].name], dialect))
    )


def _check_essentials(layout: Layout) -> None:
    name = layout.base.fullname
    if not layout.has("state"):
        raise FeatureMissing(f"{name} has no column for state: name it in columns={{'state': ...}}")


def _labels(table: JobTable, source: sa.Table) -> list[str]:
    if table.select is None:
        return []
    extra = table.select(source)
    return [str(expression.key) for expression in (extra if isinstance(extra, tuple | list) else (extra,))]


def _maker(record: Callable[..., Any] | None, columns: Sequence[str]) -> Callable[[Sequence[Any]], Any]:
    """From a row's values to a claim's record."""
    wanted = _field_names(record)
    if record is None or wanted is None:
        make = record or (lambda row: row)
        return lambda values: make(dict(zip(columns, values, strict=True)))
    lacking = sorted(name for name in _required(record) if name not in columns)
    if lacking:
        raise ConfigurationError(
            f"{getattr(record, '__name__', record)} wants {', '.join(lacking)}, which the row does not have: "
            f"there are {', '.join(columns)}"
        )

    def build(values: Sequence[Any]) -> Any:
        row = zip(columns, values, strict=True)
        return record(**{name: value for name, value in row if name in wanted})

    return build


def _field_names(record: Any) -> frozenset[str] | None:
    """The fields of a dataclass, a msgspec.Struct or a pydantic model; None for a plain function."""
    if dataclasses.is_dataclass(record):
        return frozenset(field.name for field in dataclasses.fields(record))
    found = getattr(record, "__struct_fields__", None) or getattr(record, "model_fields", None)
    return None if found is None else frozenset(found)


def _required(record: Any) -> frozenset[str]:
    if dataclasses.is_dataclass(record):
        absent = dataclasses.MISSING
        fields = dataclasses.fields(record)
        return frozenset(
            f.name for f in fields if f.init and f.default is absent and f.default_factory is absent
        )
    if (names := getattr(record, "__struct_fields__", None)) is not None:
        given = len(record.__struct_defaults__)
        return frozenset(names[: len(names) - given] if given else names)
    return frozenset(name for name, info in record.model_fields.items() if info.is_required())
