-- the tables
CREATE TABLE rowqueue_job (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	kind TEXT NOT NULL,
	queue TEXT NOT NULL,
	state TEXT NOT NULL,
	priority INTEGER NOT NULL,
	args TEXT NOT NULL,
	scheduled_at INTEGER NOT NULL,
	attempt INTEGER DEFAULT 0 NOT NULL,
	max_attempts INTEGER NOT NULL,
	failures INTEGER DEFAULT 0 NOT NULL,
	lease INTEGER DEFAULT 0 NOT NULL,
	leased_until INTEGER,
	attempted_at INTEGER,
	attempted_by TEXT,
	created_at INTEGER NOT NULL,
	finalized_at INTEGER,
	rescues INTEGER DEFAULT 0 NOT NULL,
	snoozes INTEGER DEFAULT 0 NOT NULL,
	timeout REAL,
	cancel_requested_at INTEGER,
	unique_key TEXT,
	unique_states INTEGER,
	tags TEXT,
	correlation_id TEXT,
	correlation_group TEXT,
	meta TEXT,
	errors TEXT,
	progress TEXT,
	result TEXT,
	CONSTRAINT rowqueue_job_state CHECK (state IN ('pending', 'scheduled', 'available', 'running', 'retryable', 'completed', 'cancelled', 'discarded', 'skipped')),
	CONSTRAINT rowqueue_job_final CHECK ((finalized_at IS NOT NULL) = (state IN ('completed', 'cancelled', 'discarded', 'skipped'))),
	CONSTRAINT rowqueue_job_args CHECK (json_valid(args) = 1),
	CONSTRAINT rowqueue_job_moments CHECK (scheduled_at BETWEEN -62135510400000000 AND 253402128000000000 AND leased_until BETWEEN -62135510400000000 AND 253402128000000000 AND attempted_at BETWEEN -62135510400000000 AND 253402128000000000 AND created_at BETWEEN -62135510400000000 AND 253402128000000000 AND finalized_at BETWEEN -62135510400000000 AND 253402128000000000 AND cancel_requested_at BETWEEN -62135510400000000 AND 253402128000000000),
	CONSTRAINT rowqueue_job_counters CHECK (lease BETWEEN 0 AND 1000000000000000000 AND attempt BETWEEN 0 AND 1000000000 AND failures BETWEEN 0 AND 1000000000 AND rescues BETWEEN 0 AND 1000000000 AND snoozes BETWEEN 0 AND 1000000000)
)
 STRICT;

CREATE INDEX rowqueue_job_claim ON rowqueue_job (queue, priority, scheduled_at, id) WHERE state = 'available';

CREATE INDEX rowqueue_job_due ON rowqueue_job (scheduled_at, id) WHERE state IN ('retryable', 'scheduled');

CREATE INDEX rowqueue_job_final ON rowqueue_job (state, finalized_at) WHERE finalized_at IS NOT NULL;

CREATE INDEX rowqueue_job_lease ON rowqueue_job (leased_until) WHERE leased_until IS NOT NULL;

CREATE UNIQUE INDEX rowqueue_job_unique ON rowqueue_job (unique_key) WHERE unique_key IS NOT NULL AND (finalized_at IS NULL OR (unique_states & CASE WHEN (state = 'completed') THEN 32 WHEN (state = 'cancelled') THEN 64 WHEN (state = 'discarded') THEN 128 WHEN (state = 'skipped') THEN 256 ELSE 0 END) != 0);

CREATE TABLE rowqueue_kind (
	name TEXT NOT NULL,
	unclaimable INTEGER NOT NULL,
	unclaimable_at INTEGER NOT NULL,
	PRIMARY KEY (name)
)
 STRICT;

CREATE TABLE rowqueue_log (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	job_id INTEGER NOT NULL,
	lease INTEGER NOT NULL,
	at INTEGER NOT NULL,
	entry TEXT NOT NULL
)
 STRICT;

CREATE INDEX rowqueue_log_job ON rowqueue_log (job_id, seq);

CREATE TABLE rowqueue_queue (
	name TEXT NOT NULL,
	paused_at INTEGER,
	settings TEXT,
	PRIMARY KEY (name)
)
 STRICT;

CREATE TABLE rowqueue_version (
	version INTEGER NOT NULL,
	applied_at INTEGER NOT NULL,
	PRIMARY KEY (version)
)
 STRICT;

CREATE TABLE rowqueue_worker (
	id TEXT NOT NULL,
	started_at INTEGER NOT NULL,
	seen_at INTEGER NOT NULL,
	idle INTEGER NOT NULL,
	queues TEXT NOT NULL,
	kinds TEXT NOT NULL,
	PRIMARY KEY (id)
)
 STRICT;

CREATE TABLE rowqueue_backfill (
	destination TEXT NOT NULL,
	source_key TEXT NOT NULL,
	job_id INTEGER NOT NULL,
	PRIMARY KEY (destination, source_key)
)
 STRICT;

CREATE TABLE rowqueue_backfill_cursor (
	destination TEXT NOT NULL,
	position TEXT,
	version INTEGER NOT NULL,
	begun_at INTEGER NOT NULL,
	PRIMARY KEY (destination)
)
 STRICT;

CREATE TABLE rowqueue_backfill_range (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	destination TEXT NOT NULL,
	first_key TEXT NOT NULL,
	last_key TEXT NOT NULL,
	lease INTEGER NOT NULL,
	leased_until INTEGER
)
 STRICT;

CREATE INDEX rowqueue_backfill_range_free ON rowqueue_backfill_range (destination, leased_until);

CREATE TABLE rowqueue_idle (
	queue TEXT NOT NULL,
	worker TEXT NOT NULL,
	idle_until INTEGER NOT NULL,
	PRIMARY KEY (queue, worker)
)
 STRICT;

-- enqueue
INSERT INTO rowqueue_job (kind, queue, state, priority, args, scheduled_at, max_attempts, created_at, timeout, unique_key, unique_states, tags, correlation_id, correlation_group, meta) VALUES (?, ?, CASE WHEN ? THEN 'pending' WHEN (coalesce(?, (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) + CAST(? * 1000000 AS INTEGER), (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)) > (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)) THEN 'scheduled' ELSE 'available' END, ?, CAST(? AS TEXT), coalesce(?, (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) + CAST(? * 1000000 AS INTEGER), (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)), ?, (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000), ?, ?, ?, CAST(? AS TEXT), ?, ?, CAST(? AS TEXT)) ON CONFLICT DO NOTHING RETURNING id, state, scheduled_at, created_at, unique_key, 0 AS anon_1;

-- enqueue_plain
INSERT INTO rowqueue_job (kind, queue, state, priority, args, scheduled_at, max_attempts, created_at) VALUES (?, ?, 'available', ?, CAST(? AS TEXT), (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000), ?, (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)) RETURNING id, created_at, 0 AS anon_1;

-- enqueue_many
INSERT INTO rowqueue_job (kind, queue, priority, args, max_attempts, timeout, unique_key, unique_states, tags, correlation_id, correlation_group, meta, state, scheduled_at, created_at) SELECT given.kind, given.queue, given.priority, CAST(given.args AS TEXT) AS args, given.max_attempts, given.timeout, given.unique_key, given.unique_states, CAST(given.tags AS TEXT) AS tags, given.correlation_id, given.correlation_group, CAST(given.meta AS TEXT) AS meta, CASE WHEN given.pending THEN 'pending' WHEN (coalesce(given.at, (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) + CAST(given.delay * 1000000 AS INTEGER), (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)) > (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)) THEN 'scheduled' ELSE 'available' END AS anon_2, coalesce(given.at, (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) + CAST(given.delay * 1000000 AS INTEGER), (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)) AS coalesce_1, (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)
FROM (SELECT json_extract(given_each.value, '$[0]') AS kind, json_extract(given_each.value, '$[1]') AS queue, json_extract(given_each.value, '$[2]') AS priority, json_extract(given_each.value, '$[3]') AS args, json_extract(given_each.value, '$[4]') AS max_attempts, json_extract(given_each.value, '$[5]') AS timeout, json_extract(given_each.value, '$[6]') AS unique_key, json_extract(given_each.value, '$[7]') AS unique_states, json_extract(given_each.value, '$[8]') AS tags, json_extract(given_each.value, '$[9]') AS correlation_id, json_extract(given_each.value, '$[10]') AS correlation_group, json_extract(given_each.value, '$[11]') AS meta, json_extract(given_each.value, '$[12]') AS pending, json_extract(given_each.value, '$[13]') AS at, json_extract(given_each.value, '$[14]') AS delay, given_each."key" + 1 AS ordinal
FROM json_each(?) AS given_each) AS given ORDER BY given.ordinal ON CONFLICT DO NOTHING RETURNING id, state, scheduled_at, created_at, unique_key, 0 AS anon_1;

-- enqueue_alike
INSERT INTO rowqueue_job (kind, queue, priority, args, max_attempts, timeout, unique_key, unique_states, tags, correlation_id, correlation_group, meta, state, scheduled_at, created_at) SELECT ? AS anon_2, ? AS anon_3, ? AS anon_4, CAST(given.args AS TEXT) AS args, ? AS anon_5, ? AS anon_6, ? AS anon_7, ? AS anon_8, CAST(? AS TEXT) AS anon_9, ? AS anon_10, ? AS anon_11, CAST(? AS TEXT) AS anon_12, CASE WHEN ? THEN 'pending' WHEN (coalesce(?, (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) + CAST(? * 1000000 AS INTEGER), (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)) > (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)) THEN 'scheduled' ELSE 'available' END AS anon_13, coalesce(?, (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) + CAST(? * 1000000 AS INTEGER), (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)) AS coalesce_1, (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)
FROM (SELECT json_extract(given_each.value, '$[0]') AS args, given_each."key" + 1 AS ordinal
FROM json_each(?) AS given_each) AS given ORDER BY given.ordinal RETURNING id, state, scheduled_at, created_at, unique_key, 0 AS anon_1;

-- enqueue_holders
SELECT rowqueue_job.id, rowqueue_job.kind, rowqueue_job.queue, rowqueue_job.state, rowqueue_job.priority, CAST(rowqueue_job.args AS TEXT) AS args, rowqueue_job.scheduled_at, rowqueue_job.attempt, rowqueue_job.max_attempts, rowqueue_job.failures, rowqueue_job.lease, rowqueue_job.leased_until, rowqueue_job.attempted_at, rowqueue_job.attempted_by, rowqueue_job.created_at, rowqueue_job.finalized_at, rowqueue_job.rescues, rowqueue_job.snoozes, rowqueue_job.timeout, rowqueue_job.cancel_requested_at, rowqueue_job.unique_key, rowqueue_job.unique_states, CAST(rowqueue_job.tags AS TEXT) AS tags, rowqueue_job.correlation_id, rowqueue_job.correlation_group, CAST(rowqueue_job.meta AS TEXT) AS meta, CAST(rowqueue_job.errors AS TEXT) AS errors, CAST(rowqueue_job.progress AS TEXT) AS progress, CAST(rowqueue_job.result AS TEXT) AS result
FROM rowqueue_job
WHERE rowqueue_job.unique_key IN (SELECT keys_each.value
FROM json_each(?) AS keys_each) AND rowqueue_job.unique_key IS NOT NULL AND (rowqueue_job.finalized_at IS NULL OR (rowqueue_job.unique_states & CASE WHEN (rowqueue_job.state = 'completed') THEN 32 WHEN (rowqueue_job.state = 'cancelled') THEN 64 WHEN (rowqueue_job.state = 'discarded') THEN 128 WHEN (rowqueue_job.state = 'skipped') THEN 256 ELSE 0 END) != 0);

-- promote_due
UPDATE rowqueue_job SET state='available' WHERE rowqueue_job.id IN (SELECT due.id
FROM rowqueue_job AS due
WHERE due.state IN ('retryable', 'scheduled') AND due.scheduled_at <= (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) ORDER BY due.scheduled_at, due.id
 LIMIT (SELECT ? AS anon_1) OFFSET ?) RETURNING queue;

-- promote
UPDATE rowqueue_job SET state='available', scheduled_at=CASE WHEN (rowqueue_job.scheduled_at > (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)) THEN (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) ELSE rowqueue_job.scheduled_at END, lease=(rowqueue_job.lease + 1) WHERE rowqueue_job.id IN (SELECT keys_each.value
FROM json_each(?) AS keys_each) AND rowqueue_job.state IN ('pending', 'retryable', 'scheduled') RETURNING id, queue, state, lease;

-- next_due
SELECT CAST(first.due - (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) AS DOUBLE) / (1000000.0 + 0.0) AS anon_1
FROM (SELECT rowqueue_job.scheduled_at AS due
FROM rowqueue_job
WHERE rowqueue_job.state IN ('retryable', 'scheduled') ORDER BY rowqueue_job.scheduled_at, rowqueue_job.id
 LIMIT 1 OFFSET ?) AS first;

-- look
SELECT given.queue, (SELECT rowqueue_job.id
FROM rowqueue_job
WHERE rowqueue_job.queue = given.queue AND rowqueue_job.state = 'available' ORDER BY rowqueue_job.priority, rowqueue_job.scheduled_at, rowqueue_job.id
 LIMIT 1 OFFSET ?) IS NOT NULL AND NOT (EXISTS (SELECT *
FROM rowqueue_queue
WHERE rowqueue_queue.name = given.queue AND rowqueue_queue.paused_at IS NOT NULL)) AS ready, (SELECT CAST(first.due - (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) AS DOUBLE) / (1000000.0 + 0.0) AS anon_1
FROM (SELECT rowqueue_job.scheduled_at AS due
FROM rowqueue_job
WHERE rowqueue_job.state IN ('retryable', 'scheduled') ORDER BY rowqueue_job.scheduled_at, rowqueue_job.id
 LIMIT 1 OFFSET ?) AS first) AS due
FROM (SELECT json_extract(given_each.value, '$[0]') AS queue, given_each."key" + 1 AS ordinal
FROM json_each(?) AS given_each) AS given;

-- claim
UPDATE rowqueue_job SET state='running', attempt=(rowqueue_job.attempt + 1), lease=(rowqueue_job.lease + 1), leased_until=((CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) + CAST(? * 1000000 AS INTEGER)), attempted_at=(CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000), attempted_by=? WHERE rowqueue_job.id IN (SELECT ready.id
FROM rowqueue_job AS ready
WHERE ready.queue = ? AND ready.state = 'available' AND NOT (EXISTS (SELECT *
FROM rowqueue_queue
WHERE rowqueue_queue.name = ? AND rowqueue_queue.paused_at IS NOT NULL)) ORDER BY ready.priority, ready.scheduled_at, ready.id
 LIMIT ? OFFSET ?) RETURNING id, kind, queue, state, priority, CAST(args AS TEXT) AS args, scheduled_at, attempt, max_attempts, failures, lease, leased_until, attempted_at, attempted_by, created_at, finalized_at, rescues, snoozes, timeout, cancel_requested_at, unique_key, unique_states, CAST(tags AS TEXT) AS tags, correlation_id, correlation_group, CAST(meta AS TEXT) AS meta, CAST(errors AS TEXT) AS errors, CAST(progress AS TEXT) AS progress, CAST(result AS TEXT) AS result;

-- claim_kinds
UPDATE rowqueue_job SET state='running', attempt=(rowqueue_job.attempt + 1), lease=(rowqueue_job.lease + 1), leased_until=((CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) + CAST(? * 1000000 AS INTEGER)), attempted_at=(CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000), attempted_by=? WHERE rowqueue_job.id IN (SELECT ready.id
FROM rowqueue_job AS ready
WHERE ready.queue = ? AND ready.state = 'available' AND ready.kind IN (SELECT kinds_each.value
FROM json_each(?) AS kinds_each) AND NOT (EXISTS (SELECT *
FROM rowqueue_queue
WHERE rowqueue_queue.name = ? AND rowqueue_queue.paused_at IS NOT NULL)) ORDER BY ready.priority, ready.scheduled_at, ready.id
 LIMIT ? OFFSET ?) RETURNING id, kind, queue, state, priority, CAST(args AS TEXT) AS args, scheduled_at, attempt, max_attempts, failures, lease, leased_until, attempted_at, attempted_by, created_at, finalized_at, rescues, snoozes, timeout, cancel_requested_at, unique_key, unique_states, CAST(tags AS TEXT) AS tags, correlation_id, correlation_group, CAST(meta AS TEXT) AS meta, CAST(errors AS TEXT) AS errors, CAST(progress AS TEXT) AS progress, CAST(result AS TEXT) AS result;

-- claim_ready_queues
WITH RECURSIVE hops(queue) AS
(SELECT min(rowqueue_job.queue) AS queue
FROM rowqueue_job
WHERE rowqueue_job.state = 'available' UNION ALL SELECT (SELECT min(rowqueue_job.queue) AS min_1
FROM rowqueue_job
WHERE rowqueue_job.state = 'available' AND rowqueue_job.queue > hops.queue) AS anon_1
FROM hops
WHERE hops.queue IS NOT NULL)
 SELECT hops.queue
FROM hops
WHERE hops.queue IS NOT NULL;

-- extend
UPDATE rowqueue_job SET leased_until=((CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) + CAST(? * 1000000 AS INTEGER)) WHERE rowqueue_job.id IN (SELECT held.id
FROM rowqueue_job AS held JOIN (SELECT json_extract(given_each.value, '$[0]') AS id, json_extract(given_each.value, '$[1]') AS lease, given_each."key" + 1 AS ordinal
FROM json_each(?) AS given_each) AS given ON held.id = given.id
WHERE held.lease = given.lease AND held.state = 'running' ORDER BY held.id) RETURNING id, cancel_requested_at;

-- hold
SELECT rowqueue_job.id
FROM rowqueue_job
WHERE rowqueue_job.id = ? AND rowqueue_job.lease = ? AND rowqueue_job.state = 'running';

-- complete
UPDATE rowqueue_job SET state='completed', leased_until=NULL, finalized_at=(CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000), result=CAST(given.result AS TEXT) FROM (SELECT json_extract(given_each.value, '$[0]') AS id, json_extract(given_each.value, '$[1]') AS lease, json_extract(given_each.value, '$[2]') AS result, given_each."key" + 1 AS ordinal
FROM json_each(?) AS given_each) AS given WHERE rowqueue_job.id = given.id AND rowqueue_job.lease = given.lease AND rowqueue_job.state = 'running' RETURNING id, state;

-- fail
UPDATE rowqueue_job SET state=CASE WHEN (rowqueue_job.cancel_requested_at IS NOT NULL) THEN 'cancelled' ELSE given.state END, scheduled_at=CASE WHEN (given.state = 'retryable') THEN (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) + CAST(given.delay * 1000000 AS INTEGER) ELSE rowqueue_job.scheduled_at END, failures=(rowqueue_job.failures + 1), leased_until=NULL, finalized_at=CASE WHEN (CASE WHEN (rowqueue_job.cancel_requested_at IS NOT NULL) THEN 'cancelled' ELSE given.state END IN ('cancelled', 'completed', 'discarded', 'skipped')) THEN (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) ELSE NULL END, errors=CAST(CASE WHEN (rowqueue_job.errors IS NULL OR length(CAST(rowqueue_job.errors AS TEXT)) > 262144) THEN '[' ELSE substr(CAST(rowqueue_job.errors AS TEXT), 1, length(CAST(rowqueue_job.errors AS TEXT)) - 1) || ',' END || '{"at":"' || strftime('%Y-%m-%dT%H:%M:%fZ', 'now') || '","attempt":' || CAST(rowqueue_job.attempt AS TEXT) || ',"lease":' || CAST(rowqueue_job.lease AS TEXT) || ',' || given.error || '}]' AS TEXT) FROM (SELECT json_extract(given_each.value, '$[0]') AS id, json_extract(given_each.value, '$[1]') AS lease, json_extract(given_each.value, '$[2]') AS state, json_extract(given_each.value, '$[3]') AS delay, json_extract(given_each.value, '$[4]') AS error, given_each."key" + 1 AS ordinal
FROM json_each(?) AS given_each) AS given WHERE rowqueue_job.id = given.id AND rowqueue_job.lease = given.lease AND rowqueue_job.state = 'running' RETURNING id, state;

-- snooze
UPDATE rowqueue_job SET state=CASE WHEN (rowqueue_job.cancel_requested_at IS NOT NULL) THEN 'cancelled' ELSE 'scheduled' END, scheduled_at=((CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) + CAST(given.delay * 1000000 AS INTEGER)), attempt=(rowqueue_job.attempt - 1), leased_until=NULL, finalized_at=CASE WHEN (rowqueue_job.cancel_requested_at IS NOT NULL) THEN (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) END, snoozes=(rowqueue_job.snoozes + 1) FROM (SELECT json_extract(given_each.value, '$[0]') AS id, json_extract(given_each.value, '$[1]') AS lease, json_extract(given_each.value, '$[2]') AS delay, given_each."key" + 1 AS ordinal
FROM json_each(?) AS given_each) AS given WHERE rowqueue_job.id = given.id AND rowqueue_job.lease = given.lease AND rowqueue_job.state = 'running' RETURNING id, state;

-- release
UPDATE rowqueue_job SET state=CASE WHEN (rowqueue_job.cancel_requested_at IS NOT NULL) THEN 'cancelled' ELSE 'available' END, attempt=(rowqueue_job.attempt - 1), leased_until=NULL, finalized_at=CASE WHEN (rowqueue_job.cancel_requested_at IS NOT NULL) THEN (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) END FROM (SELECT json_extract(given_each.value, '$[0]') AS id, json_extract(given_each.value, '$[1]') AS lease, given_each."key" + 1 AS ordinal
FROM json_each(?) AS given_each) AS given WHERE rowqueue_job.id = given.id AND rowqueue_job.lease = given.lease AND rowqueue_job.state = 'running' RETURNING id, state;

-- skip
UPDATE rowqueue_job SET state=CASE WHEN (rowqueue_job.cancel_requested_at IS NOT NULL) THEN 'cancelled' ELSE 'skipped' END, leased_until=NULL, finalized_at=(CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000), errors=CASE WHEN (given.error IS NULL) THEN rowqueue_job.errors ELSE CAST(CASE WHEN (rowqueue_job.errors IS NULL OR length(CAST(rowqueue_job.errors AS TEXT)) > 262144) THEN '[' ELSE substr(CAST(rowqueue_job.errors AS TEXT), 1, length(CAST(rowqueue_job.errors AS TEXT)) - 1) || ',' END || '{"at":"' || strftime('%Y-%m-%dT%H:%M:%fZ', 'now') || '","attempt":' || CAST(rowqueue_job.attempt AS TEXT) || ',"lease":' || CAST(rowqueue_job.lease AS TEXT) || ',' || given.error || '}]' AS TEXT) END FROM (SELECT json_extract(given_each.value, '$[0]') AS id, json_extract(given_each.value, '$[1]') AS lease, json_extract(given_each.value, '$[2]') AS error, given_each."key" + 1 AS ordinal
FROM json_each(?) AS given_each) AS given WHERE rowqueue_job.id = given.id AND rowqueue_job.lease = given.lease AND rowqueue_job.state = 'running' RETURNING id, state;

-- skip_by_key
UPDATE rowqueue_job SET state='skipped', lease=(rowqueue_job.lease + 1), leased_until=NULL, finalized_at=(CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000), errors=CASE WHEN (? IS NULL) THEN rowqueue_job.errors ELSE CAST(CASE WHEN (rowqueue_job.errors IS NULL OR length(CAST(rowqueue_job.errors AS TEXT)) > 262144) THEN '[' ELSE substr(CAST(rowqueue_job.errors AS TEXT), 1, length(CAST(rowqueue_job.errors AS TEXT)) - 1) || ',' END || '{"at":"' || strftime('%Y-%m-%dT%H:%M:%fZ', 'now') || '","attempt":' || CAST(rowqueue_job.attempt AS TEXT) || ',"lease":' || CAST(rowqueue_job.lease AS TEXT) || ',' || ? || '}]' AS TEXT) END WHERE rowqueue_job.id IN (SELECT keys_each.value
FROM json_each(?) AS keys_each) AND rowqueue_job.state IN ('available', 'pending', 'retryable', 'scheduled') RETURNING id, queue, state, lease;

-- cancel
UPDATE rowqueue_job SET state='cancelled', leased_until=NULL, finalized_at=(CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000), errors=CASE WHEN (given.error IS NULL) THEN rowqueue_job.errors ELSE CAST(CASE WHEN (rowqueue_job.errors IS NULL OR length(CAST(rowqueue_job.errors AS TEXT)) > 262144) THEN '[' ELSE substr(CAST(rowqueue_job.errors AS TEXT), 1, length(CAST(rowqueue_job.errors AS TEXT)) - 1) || ',' END || '{"at":"' || strftime('%Y-%m-%dT%H:%M:%fZ', 'now') || '","attempt":' || CAST(rowqueue_job.attempt AS TEXT) || ',"lease":' || CAST(rowqueue_job.lease AS TEXT) || ',' || given.error || '}]' AS TEXT) END FROM (SELECT json_extract(given_each.value, '$[0]') AS id, json_extract(given_each.value, '$[1]') AS lease, json_extract(given_each.value, '$[2]') AS error, given_each."key" + 1 AS ordinal
FROM json_each(?) AS given_each) AS given WHERE rowqueue_job.id = given.id AND rowqueue_job.lease = given.lease AND rowqueue_job.state = 'running' RETURNING id, state;

-- cancel_by_key
UPDATE rowqueue_job SET state=CASE WHEN (rowqueue_job.state = 'running') THEN 'running' ELSE 'cancelled' END, lease=CASE WHEN (rowqueue_job.state = 'running') THEN rowqueue_job.lease ELSE rowqueue_job.lease + 1 END, finalized_at=CASE WHEN (rowqueue_job.state = 'running') THEN NULL ELSE (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) END, cancel_requested_at=coalesce(rowqueue_job.cancel_requested_at, (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)), errors=CASE WHEN (? IS NULL) THEN rowqueue_job.errors ELSE CAST(CASE WHEN (rowqueue_job.errors IS NULL OR length(CAST(rowqueue_job.errors AS TEXT)) > 262144) THEN '[' ELSE substr(CAST(rowqueue_job.errors AS TEXT), 1, length(CAST(rowqueue_job.errors AS TEXT)) - 1) || ',' END || '{"at":"' || strftime('%Y-%m-%dT%H:%M:%fZ', 'now') || '","attempt":' || CAST(rowqueue_job.attempt AS TEXT) || ',"lease":' || CAST(rowqueue_job.lease AS TEXT) || ',' || ? || '}]' AS TEXT) END WHERE rowqueue_job.id IN (SELECT keys_each.value
FROM json_each(?) AS keys_each) AND rowqueue_job.state IN ('available', 'pending', 'retryable', 'running', 'scheduled') RETURNING id, queue, state, lease;

-- discard
UPDATE rowqueue_job SET state=CASE WHEN (rowqueue_job.cancel_requested_at IS NOT NULL) THEN 'cancelled' ELSE 'discarded' END, leased_until=NULL, finalized_at=(CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000), errors=CASE WHEN (given.error IS NULL) THEN rowqueue_job.errors ELSE CAST(CASE WHEN (rowqueue_job.errors IS NULL OR length(CAST(rowqueue_job.errors AS TEXT)) > 262144) THEN '[' ELSE substr(CAST(rowqueue_job.errors AS TEXT), 1, length(CAST(rowqueue_job.errors AS TEXT)) - 1) || ',' END || '{"at":"' || strftime('%Y-%m-%dT%H:%M:%fZ', 'now') || '","attempt":' || CAST(rowqueue_job.attempt AS TEXT) || ',"lease":' || CAST(rowqueue_job.lease AS TEXT) || ',' || given.error || '}]' AS TEXT) END FROM (SELECT json_extract(given_each.value, '$[0]') AS id, json_extract(given_each.value, '$[1]') AS lease, json_extract(given_each.value, '$[2]') AS error, given_each."key" + 1 AS ordinal
FROM json_each(?) AS given_each) AS given WHERE rowqueue_job.id = given.id AND rowqueue_job.lease = given.lease AND rowqueue_job.state = 'running' RETURNING id, state;

-- discard_by_key
UPDATE rowqueue_job SET state='discarded', lease=(rowqueue_job.lease + 1), leased_until=NULL, finalized_at=(CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000), errors=CASE WHEN (? IS NULL) THEN rowqueue_job.errors ELSE CAST(CASE WHEN (rowqueue_job.errors IS NULL OR length(CAST(rowqueue_job.errors AS TEXT)) > 262144) THEN '[' ELSE substr(CAST(rowqueue_job.errors AS TEXT), 1, length(CAST(rowqueue_job.errors AS TEXT)) - 1) || ',' END || '{"at":"' || strftime('%Y-%m-%dT%H:%M:%fZ', 'now') || '","attempt":' || CAST(rowqueue_job.attempt AS TEXT) || ',"lease":' || CAST(rowqueue_job.lease AS TEXT) || ',' || ? || '}]' AS TEXT) END WHERE rowqueue_job.id IN (SELECT keys_each.value
FROM json_each(?) AS keys_each) AND rowqueue_job.state IN ('available', 'pending', 'retryable', 'running', 'scheduled') RETURNING id, queue, state, lease;

-- rescue
UPDATE rowqueue_job SET state=CASE WHEN (rowqueue_job.cancel_requested_at IS NOT NULL) THEN 'cancelled' ELSE CASE WHEN (rowqueue_job.rescues + 1 >= ? OR rowqueue_job.attempt >= rowqueue_job.max_attempts) THEN 'discarded' ELSE 'available' END END, lease=(rowqueue_job.lease + 1), leased_until=NULL, finalized_at=CASE WHEN (CASE WHEN (rowqueue_job.cancel_requested_at IS NOT NULL) THEN 'cancelled' ELSE CASE WHEN (rowqueue_job.rescues + 1 >= ? OR rowqueue_job.attempt >= rowqueue_job.max_attempts) THEN 'discarded' ELSE 'available' END END IN ('cancelled', 'completed', 'discarded', 'skipped')) THEN (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) ELSE NULL END, rescues=(rowqueue_job.rescues + 1), errors=CAST(CASE WHEN (rowqueue_job.errors IS NULL OR length(CAST(rowqueue_job.errors AS TEXT)) > 262144) THEN '[' ELSE substr(CAST(rowqueue_job.errors AS TEXT), 1, length(CAST(rowqueue_job.errors AS TEXT)) - 1) || ',' END || '{"at":"' || strftime('%Y-%m-%dT%H:%M:%fZ', 'now') || '","attempt":' || CAST(rowqueue_job.attempt AS TEXT) || ',"lease":' || CAST(rowqueue_job.lease AS TEXT) || ',' || '"error":' || json_quote(CAST('the lease ran out: ' || coalesce(rowqueue_job.attempted_by, '?') || ' stopped renewing it' AS TEXT)) || '}]' AS TEXT) WHERE rowqueue_job.id IN (SELECT left_behind.id
FROM rowqueue_job AS left_behind
WHERE left_behind.leased_until < (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) AND left_behind.state = 'running' ORDER BY left_behind.leased_until
 LIMIT (SELECT ? AS anon_1) OFFSET ?) RETURNING id, kind, queue, state, lease, attempted_by;

-- retry
UPDATE rowqueue_job SET state='available', scheduled_at=(CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000), max_attempts=CASE WHEN (rowqueue_job.attempt >= rowqueue_job.max_attempts) THEN rowqueue_job.attempt + 1 ELSE rowqueue_job.max_attempts END, lease=(rowqueue_job.lease + 1), finalized_at=NULL, cancel_requested_at=NULL WHERE rowqueue_job.id IN (SELECT keys_each.value
FROM json_each(?) AS keys_each) AND rowqueue_job.state IN ('available', 'cancelled', 'completed', 'discarded', 'pending', 'retryable', 'scheduled', 'skipped') RETURNING id, queue, state, lease;

-- retry_rival
SELECT rowqueue_job.id
FROM rowqueue_job
WHERE rowqueue_job.unique_key = (SELECT mine.unique_key
FROM rowqueue_job AS mine
WHERE mine.id = ?) AND rowqueue_job.unique_key IS NOT NULL AND (rowqueue_job.finalized_at IS NULL OR (rowqueue_job.unique_states & CASE WHEN (rowqueue_job.state = 'completed') THEN 32 WHEN (rowqueue_job.state = 'cancelled') THEN 64 WHEN (rowqueue_job.state = 'discarded') THEN 128 WHEN (rowqueue_job.state = 'skipped') THEN 256 ELSE 0 END) != 0) AND rowqueue_job.id != ?;

-- prune
DELETE FROM rowqueue_job WHERE rowqueue_job.id IN (SELECT old.id
FROM rowqueue_job AS old
WHERE old.state = ? AND old.finalized_at <= ((CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) + CAST((-?) * 1000000 AS INTEGER)) AND coalesce(old.queue = ?, 1) = 1 ORDER BY old.finalized_at
 LIMIT (SELECT ? AS anon_1) OFFSET ?) RETURNING id;

-- delete
DELETE FROM rowqueue_job WHERE rowqueue_job.id IN (SELECT keys_each.value
FROM json_each(?) AS keys_each) AND rowqueue_job.state IN ('cancelled', 'completed', 'discarded', 'skipped') RETURNING id;

-- delete_log
DELETE FROM rowqueue_log WHERE rowqueue_log.job_id IN (SELECT keys_each.value
FROM json_each(?) AS keys_each);

-- progress
UPDATE rowqueue_job SET progress=CAST(? AS TEXT) WHERE rowqueue_job.id = ? AND rowqueue_job.lease = ? AND rowqueue_job.state = 'running' RETURNING id;

-- add_log
INSERT INTO rowqueue_log (job_id, lease, at, entry) SELECT rowqueue_job.id, rowqueue_job.lease, (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000), CAST(? AS TEXT) AS anon_1
FROM rowqueue_job
WHERE rowqueue_job.id = ? AND rowqueue_job.lease = ? AND rowqueue_job.state = 'running' RETURNING seq;

-- update_log
UPDATE rowqueue_log SET entry=CAST(? AS TEXT) WHERE rowqueue_log.seq = ? AND rowqueue_log.job_id = ? AND rowqueue_log.lease = ? AND (EXISTS (SELECT *
FROM rowqueue_job
WHERE rowqueue_job.id = rowqueue_log.job_id AND rowqueue_job.lease = rowqueue_log.lease AND rowqueue_job.state = 'running')) RETURNING seq;

-- log
SELECT rowqueue_log.job_id, rowqueue_log.lease, rowqueue_log.seq, rowqueue_log.at, CAST(rowqueue_log.entry AS TEXT) AS entry
FROM rowqueue_log
WHERE rowqueue_log.job_id = ? ORDER BY rowqueue_log.seq;

-- standing
SELECT rowqueue_job.id, rowqueue_job.lease, rowqueue_job.state, rowqueue_job.cancel_requested_at IS NOT NULL AS anon_1
FROM rowqueue_job
WHERE rowqueue_job.id IN (SELECT keys_each.value
FROM json_each(?) AS keys_each);

-- get
SELECT rowqueue_job.id, rowqueue_job.kind, rowqueue_job.queue, rowqueue_job.state, rowqueue_job.priority, CAST(rowqueue_job.args AS TEXT) AS args, rowqueue_job.scheduled_at, rowqueue_job.attempt, rowqueue_job.max_attempts, rowqueue_job.failures, rowqueue_job.lease, rowqueue_job.leased_until, rowqueue_job.attempted_at, rowqueue_job.attempted_by, rowqueue_job.created_at, rowqueue_job.finalized_at, rowqueue_job.rescues, rowqueue_job.snoozes, rowqueue_job.timeout, rowqueue_job.cancel_requested_at, rowqueue_job.unique_key, rowqueue_job.unique_states, CAST(rowqueue_job.tags AS TEXT) AS tags, rowqueue_job.correlation_id, rowqueue_job.correlation_group, CAST(rowqueue_job.meta AS TEXT) AS meta, CAST(rowqueue_job.errors AS TEXT) AS errors, CAST(rowqueue_job.progress AS TEXT) AS progress, CAST(rowqueue_job.result AS TEXT) AS result
FROM rowqueue_job
WHERE rowqueue_job.id = ?;

-- list
SELECT rowqueue_job.id, rowqueue_job.kind, rowqueue_job.queue, rowqueue_job.state, rowqueue_job.priority, CAST(rowqueue_job.args AS TEXT) AS args, rowqueue_job.scheduled_at, rowqueue_job.attempt, rowqueue_job.max_attempts, rowqueue_job.failures, rowqueue_job.lease, rowqueue_job.leased_until, rowqueue_job.attempted_at, rowqueue_job.attempted_by, rowqueue_job.created_at, rowqueue_job.finalized_at, rowqueue_job.rescues, rowqueue_job.snoozes, rowqueue_job.timeout, rowqueue_job.cancel_requested_at, rowqueue_job.unique_key, rowqueue_job.unique_states, CAST(rowqueue_job.tags AS TEXT) AS tags, rowqueue_job.correlation_id, rowqueue_job.correlation_group, CAST(rowqueue_job.meta AS TEXT) AS meta, CAST(rowqueue_job.errors AS TEXT) AS errors, CAST(rowqueue_job.progress AS TEXT) AS progress, CAST(rowqueue_job.result AS TEXT) AS result
FROM rowqueue_job
WHERE rowqueue_job.id > ? ORDER BY rowqueue_job.id
 LIMIT ? OFFSET ?;

-- stats
SELECT rowqueue_job.queue, rowqueue_job.state, count(*) AS count_1, -(CAST(min(CASE WHEN (rowqueue_job.state = 'available') THEN rowqueue_job.scheduled_at END) - (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) AS DOUBLE) / (1000000.0 + 0.0)) AS anon_1
FROM rowqueue_job GROUP BY rowqueue_job.queue, rowqueue_job.state;

-- stats_unclaimable
SELECT rowqueue_kind.name, rowqueue_kind.unclaimable, rowqueue_kind.unclaimable_at
FROM rowqueue_kind ORDER BY rowqueue_kind.name;

-- queues
SELECT rowqueue_queue.name, rowqueue_queue.paused_at, CAST(rowqueue_queue.settings AS TEXT) AS settings
FROM rowqueue_queue ORDER BY rowqueue_queue.name;

-- pause
UPDATE rowqueue_queue SET paused_at=(CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) WHERE rowqueue_queue.name = ? AND rowqueue_queue.paused_at IS NULL RETURNING name;

-- pause_add
INSERT INTO rowqueue_queue (name) VALUES (?) ON CONFLICT DO NOTHING;

-- resume
UPDATE rowqueue_queue SET paused_at=NULL WHERE rowqueue_queue.name = ? AND rowqueue_queue.paused_at IS NOT NULL RETURNING name;

-- unclaimable
UPDATE rowqueue_kind SET unclaimable=(rowqueue_kind.unclaimable + ?), unclaimable_at=(CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) WHERE rowqueue_kind.name = ? RETURNING name;

-- unclaimable_add
INSERT INTO rowqueue_kind (name, unclaimable, unclaimable_at) VALUES (?, 0, (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)) ON CONFLICT DO NOTHING;

-- unclaimable_forget
DELETE FROM rowqueue_kind WHERE rowqueue_kind.name IN (SELECT kinds_each.value
FROM json_each(?) AS kinds_each);

-- heartbeat
UPDATE rowqueue_worker SET seen_at=(CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000), idle=? WHERE rowqueue_worker.id = ? RETURNING id;

-- heartbeat_add
INSERT INTO rowqueue_worker (id, started_at, seen_at, idle, queues, kinds) VALUES (?, (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000), (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000), ?, CAST(? AS TEXT), CAST(? AS TEXT)) ON CONFLICT DO NOTHING;

-- heartbeat_forget
DELETE FROM rowqueue_worker WHERE rowqueue_worker.id = ?;

-- heartbeat_prune
DELETE FROM rowqueue_worker WHERE rowqueue_worker.seen_at < ((CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) + CAST(? * 1000000 AS INTEGER));

-- workers
SELECT rowqueue_worker.id, rowqueue_worker.started_at, rowqueue_worker.seen_at, rowqueue_worker.idle, CAST(rowqueue_worker.queues AS TEXT) AS queues, CAST(rowqueue_worker.kinds AS TEXT) AS kinds, -(CAST(rowqueue_worker.seen_at - (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) AS DOUBLE) / (1000000.0 + 0.0)) AS anon_1
FROM rowqueue_worker ORDER BY rowqueue_worker.id;

-- schema_present
SELECT count(*) AS count_1
FROM sqlite_master
WHERE sqlite_master.type = 'table' AND sqlite_master.name = ?;

-- schema_version
SELECT max(rowqueue_version.version) AS max_1
FROM rowqueue_version;

-- schema_record
INSERT INTO rowqueue_version (version, applied_at) VALUES (?, (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000));

-- backfill_begin
INSERT INTO rowqueue_backfill_cursor (destination, version, begun_at) VALUES (?, 0, (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)) ON CONFLICT DO NOTHING;

-- backfill_take
UPDATE rowqueue_backfill_range SET lease=(rowqueue_backfill_range.lease + 1), leased_until=((CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) + CAST(? * 1000000 AS INTEGER)) WHERE rowqueue_backfill_range.id = (SELECT left_behind.id
FROM rowqueue_backfill_range AS left_behind
WHERE left_behind.destination = ? AND (left_behind.leased_until IS NULL OR left_behind.leased_until < (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)) ORDER BY left_behind.id
 LIMIT 1 OFFSET ?) RETURNING id, lease, first_key, last_key;

-- backfill_look
SELECT rowqueue_backfill_cursor.position, rowqueue_backfill_cursor.version, rowqueue_backfill_cursor.begun_at, (CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000), (SELECT count(*) AS count_1
FROM rowqueue_backfill_range
WHERE rowqueue_backfill_range.destination = rowqueue_backfill_cursor.destination) AS anon_1
FROM rowqueue_backfill_cursor
WHERE rowqueue_backfill_cursor.destination = ?;

-- backfill_advance
UPDATE rowqueue_backfill_cursor SET position=?, version=(rowqueue_backfill_cursor.version + 1), begun_at=? WHERE rowqueue_backfill_cursor.destination = ? AND rowqueue_backfill_cursor.version = ? RETURNING version;

-- backfill_add
INSERT INTO rowqueue_backfill_range (destination, first_key, last_key, lease, leased_until) VALUES (?, ?, ?, 1, ((CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) + CAST(? * 1000000 AS INTEGER))) RETURNING id, lease, first_key, last_key;

-- backfill_record
INSERT INTO rowqueue_backfill (destination, source_key, job_id) SELECT ? AS anon_1, given.source_key, given.job_id
FROM (SELECT json_extract(given_each.value, '$[0]') AS source_key, json_extract(given_each.value, '$[1]') AS job_id, given_each."key" + 1 AS ordinal
FROM json_each(?) AS given_each) AS given
WHERE 1 = 1 ORDER BY given.ordinal ON CONFLICT DO NOTHING RETURNING job_id;

-- backfill_undo
DELETE FROM rowqueue_job WHERE rowqueue_job.id IN (SELECT keys_each.value
FROM json_each(?) AS keys_each);

-- backfill_give_back
UPDATE rowqueue_backfill_range SET first_key=?, leased_until=NULL WHERE rowqueue_backfill_range.id = ? AND rowqueue_backfill_range.lease = ?;

-- backfill_done
DELETE FROM rowqueue_backfill_range WHERE rowqueue_backfill_range.id = ? AND rowqueue_backfill_range.lease = ?;
