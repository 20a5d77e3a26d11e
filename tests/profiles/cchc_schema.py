"""cchc's tables as its migrations leave them; and the same columns for SQLite."""

POSTGRES = """
CREATE SCHEMA jobs;
CREATE SCHEMA results;
CREATE SCHEMA stats;
CREATE TABLE items (id text PRIMARY KEY, url text, title text, api jsonb);
CREATE TYPE job_statuses AS ENUM ('ready', 'running', 'skipped', 'failed', 'finished');
CREATE TABLE jobs.fulltext (
    id uuid PRIMARY KEY,
    item_id text NOT NULL REFERENCES items (id),
    destination text NOT NULL,
    started timestamp with time zone,
    finished timestamp with time zone,
    status job_statuses,
    UNIQUE (item_id, destination)
);
CREATE INDEX jobs_status_idx ON jobs.fulltext (status);
CREATE INDEX jobs_destination_idx ON jobs.fulltext (destination);
CREATE INDEX jobs_destination_status_idx ON jobs.fulltext (destination, status);
CREATE INDEX jobs_item_idx ON jobs.fulltext (item_id);
CREATE VIEW stats.job_status_ft AS
    SELECT destination, status, count(*) AS n FROM jobs.fulltext GROUP BY destination, status;
CREATE TABLE results.languages (
    job_id uuid REFERENCES jobs.fulltext (id) NOT NULL,
    item_id text REFERENCES items (id) NOT NULL,
    lang text NOT NULL,
    sentences integer
);
"""

SQLITE = """
CREATE TABLE items (id text PRIMARY KEY, url text, title text, api text);
CREATE TABLE fulltext (
    id text PRIMARY KEY,
    item_id text NOT NULL REFERENCES items (id),
    destination text NOT NULL,
    started text,
    finished text,
    status text CHECK (status IN ('ready', 'running', 'skipped', 'failed', 'finished')),
    UNIQUE (item_id, destination)
);
CREATE TABLE languages (
    job_id text REFERENCES fulltext (id) NOT NULL,
    item_id text REFERENCES items (id) NOT NULL,
    lang text NOT NULL,
    sentences integer
);
"""
