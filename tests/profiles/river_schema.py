"""``river_job`` and what belongs to it, in River's shape."""

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.rows import dict_row

from rowqueue.profiles.river import Client, Job

RIVER_DDL = """
CREATE TYPE river_job_state AS ENUM (
    'available', 'cancelled', 'completed', 'discarded', 'pending', 'retryable', 'running', 'scheduled'
);
CREATE TABLE river_job (
    id bigserial PRIMARY KEY,
    state river_job_state NOT NULL DEFAULT 'available',
    attempt smallint NOT NULL DEFAULT 0,
    max_attempts smallint NOT NULL,
    attempted_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    finalized_at timestamptz,
    scheduled_at timestamptz NOT NULL DEFAULT now(),
    priority smallint NOT NULL DEFAULT 1,
    args jsonb NOT NULL DEFAULT '{}',
    attempted_by text[],
    errors jsonb[],
    kind text NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}',
    queue text NOT NULL DEFAULT 'default',
    tags varchar(255)[] NOT NULL DEFAULT '{}',
    unique_key bytea,
    unique_states bit(8),
    CONSTRAINT finalized_or_finalized_at_null CHECK (
        (finalized_at IS NULL AND state NOT IN ('cancelled', 'completed', 'discarded'))
        OR (finalized_at IS NOT NULL AND state IN ('cancelled', 'completed', 'discarded'))
    ),
    CONSTRAINT max_attempts_is_positive CHECK (max_attempts > 0),
    CONSTRAINT priority_in_range CHECK (priority BETWEEN 1 AND 4),
    CONSTRAINT queue_length CHECK (char_length(queue) BETWEEN 1 AND 127),
    CONSTRAINT kind_length CHECK (char_length(kind) BETWEEN 1 AND 127)
);
CREATE FUNCTION river_job_state_in_bitmask(bitmask bit(8), state river_job_state) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT get_bit(bitmask, CASE state
        WHEN 'available' THEN 7 WHEN 'cancelled' THEN 6 WHEN 'completed' THEN 5 WHEN 'discarded' THEN 4
        WHEN 'pending' THEN 3 WHEN 'retryable' THEN 2 WHEN 'running' THEN 1 WHEN 'scheduled' THEN 0 END) = 1
$$;
CREATE INDEX river_job_kind ON river_job (kind);
CREATE INDEX river_job_state_and_finalized_at_index ON river_job (state, finalized_at) WHERE finalized_at IS NOT NULL;
CREATE INDEX river_job_prioritized_fetching_index ON river_job (state, queue, priority, scheduled_at, id);
CREATE INDEX river_job_args_index ON river_job USING gin (args);
CREATE INDEX river_job_metadata_index ON river_job USING gin (metadata);
CREATE UNIQUE INDEX river_job_unique_idx ON river_job (unique_key)
    WHERE unique_key IS NOT NULL AND unique_states IS NOT NULL
    AND river_job_state_in_bitmask(unique_states, state);
CREATE TABLE river_queue (
    name text PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    metadata jsonb NOT NULL DEFAULT '{}',
    paused_at timestamptz,
    updated_at timestamptz NOT NULL
);
"""


class River:
    """What River's own clients would do and see: plain SQL, past rowqueue."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = psycopg.Connection[dict[str, Any]].connect(
            url, autocommit=True, row_factory=dict_row
        )  # type: ignore[arg-type]

    def execute(self, query: str, *values: Any) -> list[dict[str, Any]]:
        cursor = self.connection.execute(query, values or None)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []

    def insert(self, **columns: Any) -> int:
        """As a Go client inserts: literal SQL values by column, with River's usual ones for the rest."""
        given = {"kind": "'email'", "max_attempts": "25", "args": "'{\"to\": 7}'"} | columns
        names, values = ", ".join(given), ", ".join(str(value) for value in given.values())
        (row,) = self.execute(f"INSERT INTO river_job ({names}) VALUES ({values}) RETURNING id")
        return int(row["id"])

    def running(self, **columns: Any) -> int:
        """A job that a Go worker is running."""
        usual = {"state": "'running'", "attempt": "1", "attempted_at": "now()", "attempted_by": "'{go}'"}
        return self.insert(**(usual | columns))

    def row(self, id_: int) -> Mapping[str, Any]:
        (row,) = self.execute("SELECT * FROM river_job WHERE id = %s", id_)
        return row

    def update(self, id_: int, **columns: Any) -> None:
        changes = ", ".join(f"{name} = {value}" for name, value in columns.items())
        self.execute(f"UPDATE river_job SET {changes} WHERE id = {id_}")

    def expire(self, id_: int) -> None:
        """The lease of our claim ran out."""
        path = "{rowqueue:lease,until}"
        self.execute(
            f"UPDATE river_job SET metadata = jsonb_set(metadata, '{path}', to_jsonb(now() - interval '1 second'))"
            f" WHERE id = {id_}"
        )

    def due_in(self, id_: int) -> float:
        (row,) = self.execute(
            "SELECT extract(epoch FROM scheduled_at - now())::float AS due FROM river_job WHERE id = %s", id_
        )
        return float(row["due"])

    def close(self) -> None:
        self.connection.close()


def fetched(client: Client, river: River, **columns: Any) -> Job:
    """A job that a River client inserted and that we run."""
    river.insert(**columns)
    (job,) = client.job_get_available(1)
    return job


def pretend_running(river: River, id_: int) -> None:
    """River's rescuer and another Go worker have taken the job since."""
    river.update(id_, state="'running'", attempt="attempt + 1", attempted_at="now() + interval '1 second'",
                 attempted_by="array_append(attempted_by, 'go')")  # fmt: skip
