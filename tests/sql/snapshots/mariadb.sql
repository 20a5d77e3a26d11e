-- the tables
CREATE TABLE IF NOT EXISTS rowqueue_job (
	id BIGINT NOT NULL AUTO_INCREMENT,
	kind VARCHAR(200) NOT NULL,
	queue VARCHAR(200) NOT NULL,
	state VARCHAR(16) NOT NULL,
	priority SMALLINT NOT NULL,
	args LONGTEXT NOT NULL,
	scheduled_at DATETIME(6) NOT NULL,
	attempt INTEGER NOT NULL DEFAULT 0,
	max_attempts INTEGER NOT NULL,
	failures INTEGER NOT NULL DEFAULT 0,
	lease BIGINT NOT NULL DEFAULT 0,
	leased_until DATETIME(6),
	attempted_at DATETIME(6),
	attempted_by VARCHAR(200),
	created_at DATETIME(6) NOT NULL,
	finalized_at DATETIME(6),
	rescues INTEGER NOT NULL DEFAULT 0,
	snoozes INTEGER NOT NULL DEFAULT 0,
	timeout DOUBLE,
	cancel_requested_at DATETIME(6),
	unique_key VARCHAR(200),
	unique_states SMALLINT,
	tags LONGTEXT,
	correlation_id VARCHAR(200),
	correlation_group VARCHAR(200),
	meta LONGTEXT,
	errors LONGTEXT,
	progress LONGTEXT,
	result LONGTEXT,
	PRIMARY KEY (id),
	CONSTRAINT rowqueue_job_state CHECK (state IN ('pending', 'scheduled', 'available', 'running', 'retryable', 'completed', 'cancelled', 'discarded', 'skipped')),
	CONSTRAINT rowqueue_job_final CHECK ((finalized_at IS NOT NULL) = (state IN ('completed', 'cancelled', 'discarded', 'skipped'))),
	CONSTRAINT rowqueue_job_args CHECK (json_valid(args) = 1),
	CONSTRAINT rowqueue_job_moments CHECK (scheduled_at BETWEEN '0001-01-02 00:00:00' AND '9999-12-30 00:00:00' AND leased_until BETWEEN '0001-01-02 00:00:00' AND '9999-12-30 00:00:00' AND attempted_at BETWEEN '0001-01-02 00:00:00' AND '9999-12-30 00:00:00' AND created_at BETWEEN '0001-01-02 00:00:00' AND '9999-12-30 00:00:00' AND finalized_at BETWEEN '0001-01-02 00:00:00' AND '9999-12-30 00:00:00' AND cancel_requested_at BETWEEN '0001-01-02 00:00:00' AND '9999-12-30 00:00:00'),
	CONSTRAINT rowqueue_job_counters CHECK (lease BETWEEN 0 AND 1000000000000000000 AND attempt BETWEEN 0 AND 1000000000 AND failures BETWEEN 0 AND 1000000000 AND rescues BETWEEN 0 AND 1000000000 AND snoozes BETWEEN 0 AND 1000000000),
	INDEX rowqueue_job_claim (state, queue, priority, scheduled_at, id),
	due_at DATETIME(6) GENERATED ALWAYS AS (CASE WHEN (state IN ('retryable', 'scheduled')) THEN scheduled_at END) STORED,
	INDEX rowqueue_job_due (due_at, id),
	INDEX rowqueue_job_final (state, finalized_at),
	INDEX rowqueue_job_lease (leased_until),
	held_key VARCHAR(200) GENERATED ALWAYS AS (CASE WHEN (unique_key IS NOT NULL AND (finalized_at IS NULL OR (unique_states & CASE WHEN (state = 'completed') THEN 32 WHEN (state = 'cancelled') THEN 64 WHEN (state = 'discarded') THEN 128 WHEN (state = 'skipped') THEN 256 ELSE 0 END) != 0)) THEN unique_key END) STORED,
	UNIQUE INDEX rowqueue_job_unique (held_key)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS rowqueue_kind (
	name VARCHAR(200) NOT NULL,
	unclaimable BIGINT NOT NULL,
	unclaimable_at DATETIME(6) NOT NULL,
	PRIMARY KEY (name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS rowqueue_log (
	seq BIGINT NOT NULL AUTO_INCREMENT,
	job_id BIGINT NOT NULL,
	lease BIGINT NOT NULL,
	at DATETIME(6) NOT NULL,
	entry LONGTEXT NOT NULL,
	PRIMARY KEY (seq),
	INDEX rowqueue_log_job (job_id, seq)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS rowqueue_queue (
	name VARCHAR(200) NOT NULL,
	paused_at DATETIME(6),
	settings LONGTEXT,
	PRIMARY KEY (name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS rowqueue_version (
	version INTEGER NOT NULL,
	applied_at DATETIME(6) NOT NULL,
	PRIMARY KEY (version)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS rowqueue_worker (
	id VARCHAR(200) NOT NULL,
	started_at DATETIME(6) NOT NULL,
	seen_at DATETIME(6) NOT NULL,
	idle BOOL NOT NULL,
	queues LONGTEXT NOT NULL,
	kinds LONGTEXT NOT NULL,
	PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS rowqueue_backfill (
	destination VARCHAR(200) NOT NULL,
	source_key VARCHAR(255) NOT NULL,
	job_id BIGINT NOT NULL,
	PRIMARY KEY (destination, source_key)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS rowqueue_backfill_cursor (
	destination VARCHAR(200) NOT NULL,
	`position` VARCHAR(255),
	version BIGINT NOT NULL,
	begun_at DATETIME(6) NOT NULL,
	PRIMARY KEY (destination)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS rowqueue_backfill_range (
	id BIGINT NOT NULL AUTO_INCREMENT,
	destination VARCHAR(200) NOT NULL,
	first_key VARCHAR(255) NOT NULL,
	last_key VARCHAR(255) NOT NULL,
	lease BIGINT NOT NULL,
	leased_until DATETIME(6),
	PRIMARY KEY (id),
	INDEX rowqueue_backfill_range_free (destination, leased_until)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS rowqueue_idle (
	queue VARCHAR(200) NOT NULL,
	worker VARCHAR(200) NOT NULL,
	idle_until DATETIME(6) NOT NULL,
	PRIMARY KEY (queue, worker)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

-- enqueue
INSERT IGNORE INTO rowqueue_job (kind, queue, state, priority, args, scheduled_at, max_attempts, created_at, timeout, unique_key, unique_states, tags, correlation_id, correlation_group, meta) VALUES (%s, %s, CASE WHEN %s THEN 'pending' WHEN (coalesce(%s, timestampadd(MICROSECOND, CAST(%s * 1000000 AS SIGNED INTEGER), UTC_TIMESTAMP(6)), UTC_TIMESTAMP(6)) > UTC_TIMESTAMP(6)) THEN 'scheduled' ELSE 'available' END, %s, CAST(%s AS CHAR), coalesce(%s, timestampadd(MICROSECOND, CAST(%s * 1000000 AS SIGNED INTEGER), UTC_TIMESTAMP(6)), UTC_TIMESTAMP(6)), %s, UTC_TIMESTAMP(6), %s, %s, %s, CAST(%s AS CHAR), %s, %s, CAST(%s AS CHAR)) RETURNING rowqueue_job.id, rowqueue_job.state, rowqueue_job.scheduled_at, rowqueue_job.created_at, rowqueue_job.unique_key, false AS anon_1;

-- enqueue_plain
INSERT INTO rowqueue_job (kind, queue, state, priority, args, scheduled_at, max_attempts, created_at) VALUES (%s, %s, 'available', %s, CAST(%s AS CHAR), UTC_TIMESTAMP(6), %s, UTC_TIMESTAMP(6)) RETURNING rowqueue_job.id, rowqueue_job.created_at, false AS anon_1;

-- enqueue_many
INSERT IGNORE INTO rowqueue_job (kind, queue, priority, args, max_attempts, timeout, unique_key, unique_states, tags, correlation_id, correlation_group, meta, state, scheduled_at, created_at) SELECT given.kind, given.queue, given.priority, CAST(given.args AS CHAR) AS args, given.max_attempts, given.timeout, given.unique_key, given.unique_states, CAST(given.tags AS CHAR) AS tags, given.correlation_id, given.correlation_group, CAST(given.meta AS CHAR) AS meta, CASE WHEN given.pending THEN 'pending' WHEN (coalesce(given.at, timestampadd(MICROSECOND, CAST(given.delay * 1000000 AS SIGNED INTEGER), UTC_TIMESTAMP(6)), UTC_TIMESTAMP(6)) > UTC_TIMESTAMP(6)) THEN 'scheduled' ELSE 'available' END AS anon_2, coalesce(given.at, timestampadd(MICROSECOND, CAST(given.delay * 1000000 AS SIGNED INTEGER), UTC_TIMESTAMP(6)), UTC_TIMESTAMP(6)) AS coalesce_1, UTC_TIMESTAMP(6)
FROM JSON_TABLE(%s, '$[*]' COLUMNS (ordinal FOR ORDINALITY, kind LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[0]', queue LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[1]', priority BIGINT PATH '$[2]', args LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[3]', max_attempts BIGINT PATH '$[4]', timeout DOUBLE PATH '$[5]', unique_key LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[6]', unique_states BIGINT PATH '$[7]', tags LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[8]', correlation_id LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[9]', correlation_group LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[10]', meta LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[11]', pending TINYINT PATH '$[12]', at DATETIME(6) PATH '$[13]', delay DOUBLE PATH '$[14]')) AS given ORDER BY given.ordinal RETURNING rowqueue_job.id, rowqueue_job.state, rowqueue_job.scheduled_at, rowqueue_job.created_at, rowqueue_job.unique_key, false AS anon_1;

-- enqueue_alike
INSERT INTO rowqueue_job (kind, queue, priority, args, max_attempts, timeout, unique_key, unique_states, tags, correlation_id, correlation_group, meta, state, scheduled_at, created_at) SELECT %s AS anon_2, %s AS anon_3, %s AS anon_4, CAST(given.args AS CHAR) AS args, %s AS anon_5, %s AS anon_6, %s AS anon_7, %s AS anon_8, CAST(%s AS CHAR) AS anon_9, %s AS anon_10, %s AS anon_11, CAST(%s AS CHAR) AS anon_12, CASE WHEN %s THEN 'pending' WHEN (coalesce(%s, timestampadd(MICROSECOND, CAST(%s * 1000000 AS SIGNED INTEGER), UTC_TIMESTAMP(6)), UTC_TIMESTAMP(6)) > UTC_TIMESTAMP(6)) THEN 'scheduled' ELSE 'available' END AS anon_13, coalesce(%s, timestampadd(MICROSECOND, CAST(%s * 1000000 AS SIGNED INTEGER), UTC_TIMESTAMP(6)), UTC_TIMESTAMP(6)) AS coalesce_1, UTC_TIMESTAMP(6)
FROM JSON_TABLE(%s, '$[*]' COLUMNS (ordinal FOR ORDINALITY, args LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[0]')) AS given ORDER BY given.ordinal RETURNING rowqueue_job.id, rowqueue_job.state, rowqueue_job.scheduled_at, rowqueue_job.created_at, rowqueue_job.unique_key, false AS anon_1;

-- enqueue_holders
SELECT rowqueue_job.id, rowqueue_job.kind, rowqueue_job.queue, rowqueue_job.state, rowqueue_job.priority, CAST(rowqueue_job.args AS CHAR) AS args, rowqueue_job.scheduled_at, rowqueue_job.attempt, rowqueue_job.max_attempts, rowqueue_job.failures, rowqueue_job.lease, rowqueue_job.leased_until, rowqueue_job.attempted_at, rowqueue_job.attempted_by, rowqueue_job.created_at, rowqueue_job.finalized_at, rowqueue_job.rescues, rowqueue_job.snoozes, rowqueue_job.timeout, rowqueue_job.cancel_requested_at, rowqueue_job.unique_key, rowqueue_job.unique_states, CAST(rowqueue_job.tags AS CHAR) AS tags, rowqueue_job.correlation_id, rowqueue_job.correlation_group, CAST(rowqueue_job.meta AS CHAR) AS meta, CAST(rowqueue_job.errors AS CHAR) AS errors, CAST(rowqueue_job.progress AS CHAR) AS progress, CAST(rowqueue_job.result AS CHAR) AS result
FROM rowqueue_job
WHERE (rowqueue_job.held_key IN %s) AND rowqueue_job.held_key IS NOT NULL LOCK IN SHARE MODE;

-- promote_due
SELECT due.id
FROM rowqueue_job AS due FORCE INDEX (rowqueue_job_due)
WHERE due.due_at IS NOT NULL AND due.due_at <= UTC_TIMESTAMP(6) ORDER BY due.due_at, due.id
 LIMIT %s FOR UPDATE SKIP LOCKED;
UPDATE rowqueue_job FORCE INDEX (PRIMARY) SET state='available' WHERE rowqueue_job.id IN %s;
SELECT rowqueue_job.queue
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id IN %s;

-- promote
SELECT rowqueue_job.id
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE (rowqueue_job.id IN %s) AND rowqueue_job.state IN ('pending', 'retryable', 'scheduled') ORDER BY rowqueue_job.id FOR UPDATE;
UPDATE rowqueue_job FORCE INDEX (PRIMARY) SET state='available', lease=(rowqueue_job.lease + 1), scheduled_at=CASE WHEN (rowqueue_job.scheduled_at > UTC_TIMESTAMP(6)) THEN UTC_TIMESTAMP(6) ELSE rowqueue_job.scheduled_at END WHERE rowqueue_job.id IN %s;
SELECT rowqueue_job.id, rowqueue_job.queue, rowqueue_job.state, rowqueue_job.lease
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id IN %s;

-- next_due
SELECT timestampdiff(MICROSECOND, UTC_TIMESTAMP(6), first.due) * 1e-6 AS anon_1
FROM (SELECT rowqueue_job.due_at AS due
FROM rowqueue_job
WHERE rowqueue_job.due_at IS NOT NULL ORDER BY rowqueue_job.due_at, rowqueue_job.id
 LIMIT 1) AS first;

-- look
SELECT given.queue, (SELECT rowqueue_job.id
FROM rowqueue_job
WHERE rowqueue_job.queue = given.queue AND rowqueue_job.state = 'available' ORDER BY rowqueue_job.priority, rowqueue_job.scheduled_at, rowqueue_job.id
 LIMIT 1) IS NOT NULL AND NOT (EXISTS (SELECT *
FROM rowqueue_queue
WHERE rowqueue_queue.name = given.queue AND rowqueue_queue.paused_at IS NOT NULL)) AS ready, (SELECT timestampdiff(MICROSECOND, UTC_TIMESTAMP(6), first.due) * 1e-6 AS anon_1
FROM (SELECT rowqueue_job.due_at AS due
FROM rowqueue_job
WHERE rowqueue_job.due_at IS NOT NULL ORDER BY rowqueue_job.due_at, rowqueue_job.id
 LIMIT 1) AS first) AS due
FROM JSON_TABLE(%s, '$[*]' COLUMNS (ordinal FOR ORDINALITY, queue LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[0]')) AS given;

-- claim
SELECT ready.id
FROM rowqueue_job AS ready FORCE INDEX (rowqueue_job_claim)
WHERE ready.queue = %s AND ready.state = 'available' AND NOT (EXISTS (SELECT *
FROM rowqueue_queue
WHERE rowqueue_queue.name = %s AND rowqueue_queue.paused_at IS NOT NULL)) ORDER BY ready.priority, ready.scheduled_at, ready.id
 LIMIT %s FOR UPDATE SKIP LOCKED;
UPDATE rowqueue_job FORCE INDEX (PRIMARY) SET state='running', attempt=(rowqueue_job.attempt + 1), lease=(rowqueue_job.lease + 1), leased_until=timestampadd(MICROSECOND, CAST(%s * 1000000 AS SIGNED INTEGER), UTC_TIMESTAMP(6)), attempted_at=UTC_TIMESTAMP(6), attempted_by=%s WHERE rowqueue_job.id IN %s;
SELECT rowqueue_job.id, rowqueue_job.kind, rowqueue_job.queue, rowqueue_job.state, rowqueue_job.priority, CAST(rowqueue_job.args AS CHAR) AS args, rowqueue_job.scheduled_at, rowqueue_job.attempt, rowqueue_job.max_attempts, rowqueue_job.failures, rowqueue_job.lease, rowqueue_job.leased_until, rowqueue_job.attempted_at, rowqueue_job.attempted_by, rowqueue_job.created_at, rowqueue_job.finalized_at, rowqueue_job.rescues, rowqueue_job.snoozes, rowqueue_job.timeout, rowqueue_job.cancel_requested_at, rowqueue_job.unique_key, rowqueue_job.unique_states, CAST(rowqueue_job.tags AS CHAR) AS tags, rowqueue_job.correlation_id, rowqueue_job.correlation_group, CAST(rowqueue_job.meta AS CHAR) AS meta, CAST(rowqueue_job.errors AS CHAR) AS errors, CAST(rowqueue_job.progress AS CHAR) AS progress, CAST(rowqueue_job.result AS CHAR) AS result
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id IN %s;

-- claim_kinds
SELECT ready.id
FROM rowqueue_job AS ready FORCE INDEX (rowqueue_job_claim)
WHERE ready.queue = %s AND ready.state = 'available' AND (ready.kind IN %s) AND NOT (EXISTS (SELECT *
FROM rowqueue_queue
WHERE rowqueue_queue.name = %s AND rowqueue_queue.paused_at IS NOT NULL)) ORDER BY ready.priority, ready.scheduled_at, ready.id
 LIMIT %s FOR UPDATE SKIP LOCKED;
UPDATE rowqueue_job FORCE INDEX (PRIMARY) SET state='running', attempt=(rowqueue_job.attempt + 1), lease=(rowqueue_job.lease + 1), leased_until=timestampadd(MICROSECOND, CAST(%s * 1000000 AS SIGNED INTEGER), UTC_TIMESTAMP(6)), attempted_at=UTC_TIMESTAMP(6), attempted_by=%s WHERE rowqueue_job.id IN %s;
SELECT rowqueue_job.id, rowqueue_job.kind, rowqueue_job.queue, rowqueue_job.state, rowqueue_job.priority, CAST(rowqueue_job.args AS CHAR) AS args, rowqueue_job.scheduled_at, rowqueue_job.attempt, rowqueue_job.max_attempts, rowqueue_job.failures, rowqueue_job.lease, rowqueue_job.leased_until, rowqueue_job.attempted_at, rowqueue_job.attempted_by, rowqueue_job.created_at, rowqueue_job.finalized_at, rowqueue_job.rescues, rowqueue_job.snoozes, rowqueue_job.timeout, rowqueue_job.cancel_requested_at, rowqueue_job.unique_key, rowqueue_job.unique_states, CAST(rowqueue_job.tags AS CHAR) AS tags, rowqueue_job.correlation_id, rowqueue_job.correlation_group, CAST(rowqueue_job.meta AS CHAR) AS meta, CAST(rowqueue_job.errors AS CHAR) AS errors, CAST(rowqueue_job.progress AS CHAR) AS progress, CAST(rowqueue_job.result AS CHAR) AS result
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id IN %s;

-- claim_ready_queues
SELECT min(rowqueue_job.queue) AS min_1
FROM rowqueue_job
WHERE rowqueue_job.state = 'available' AND rowqueue_job.queue > %s;

-- extend
SELECT held.id
FROM rowqueue_job AS held FORCE INDEX (PRIMARY) INNER JOIN JSON_TABLE(%s, '$[*]' COLUMNS (ordinal FOR ORDINALITY, id BIGINT PATH '$[0]', lease BIGINT PATH '$[1]')) AS given ON held.id = given.id
WHERE held.lease = given.lease AND held.state = 'running' ORDER BY held.id FOR UPDATE SKIP LOCKED;
UPDATE rowqueue_job FORCE INDEX (PRIMARY) SET leased_until=timestampadd(MICROSECOND, CAST(%s * 1000000 AS SIGNED INTEGER), UTC_TIMESTAMP(6)) WHERE rowqueue_job.id IN %s;
SELECT rowqueue_job.id, rowqueue_job.cancel_requested_at
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id IN %s;

-- hold
SELECT rowqueue_job.id
FROM rowqueue_job
WHERE rowqueue_job.id = %s AND rowqueue_job.lease = %s AND rowqueue_job.state = 'running' FOR UPDATE;

-- complete
SELECT STRAIGHT_JOIN rowqueue_job.id, given.ordinal
FROM JSON_TABLE(%s, '$[*]' COLUMNS (ordinal FOR ORDINALITY, id BIGINT PATH '$[0]', lease BIGINT PATH '$[1]', result LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[2]')) AS given, rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id = given.id AND rowqueue_job.lease = given.lease AND rowqueue_job.state = 'running' FOR UPDATE;
UPDATE JSON_TABLE(%s, '$[*]' COLUMNS (ordinal FOR ORDINALITY, id BIGINT PATH '$[0]', lease BIGINT PATH '$[1]', result LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[2]')) AS given STRAIGHT_JOIN rowqueue_job FORCE INDEX (PRIMARY) SET rowqueue_job.state='completed', rowqueue_job.leased_until=NULL, rowqueue_job.finalized_at=UTC_TIMESTAMP(6), rowqueue_job.result=CAST(given.result AS CHAR) WHERE rowqueue_job.id = given.id AND rowqueue_job.lease = given.lease AND rowqueue_job.state = 'running';
SELECT rowqueue_job.id, rowqueue_job.state
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id IN %s;

-- fail
SELECT STRAIGHT_JOIN rowqueue_job.id, given.ordinal
FROM JSON_TABLE(%s, '$[*]' COLUMNS (ordinal FOR ORDINALITY, id BIGINT PATH '$[0]', lease BIGINT PATH '$[1]', state LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[2]', delay DOUBLE PATH '$[3]', error LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[4]')) AS given, rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id = given.id AND rowqueue_job.lease = given.lease AND rowqueue_job.state = 'running' FOR UPDATE;
UPDATE JSON_TABLE(%s, '$[*]' COLUMNS (ordinal FOR ORDINALITY, id BIGINT PATH '$[0]', lease BIGINT PATH '$[1]', state LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[2]', delay DOUBLE PATH '$[3]', error LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[4]')) AS given STRAIGHT_JOIN rowqueue_job FORCE INDEX (PRIMARY) SET rowqueue_job.state=CASE WHEN (rowqueue_job.cancel_requested_at IS NOT NULL) THEN 'cancelled' ELSE given.state END, rowqueue_job.leased_until=NULL, rowqueue_job.finalized_at=CASE WHEN (CASE WHEN (rowqueue_job.cancel_requested_at IS NOT NULL) THEN 'cancelled' ELSE given.state END IN ('cancelled', 'completed', 'discarded', 'skipped')) THEN UTC_TIMESTAMP(6) ELSE NULL END, rowqueue_job.failures=(rowqueue_job.failures + 1), rowqueue_job.errors=CAST(concat(CASE WHEN (rowqueue_job.errors IS NULL OR char_length(CAST(rowqueue_job.errors AS CHAR)) > 262144) THEN '[' ELSE concat(substr(CAST(rowqueue_job.errors AS CHAR), 1, char_length(CAST(rowqueue_job.errors AS CHAR)) - 1), ',') END, '{"at":"', date_format(UTC_TIMESTAMP(6), '%%Y-%%m-%%dT%%H:%%i:%%s.%%fZ'), '","attempt":', CAST(rowqueue_job.attempt AS CHAR), ',"lease":', CAST(rowqueue_job.lease AS CHAR), ',', given.error, '}]') AS CHAR), rowqueue_job.scheduled_at=CASE WHEN (given.state = 'retryable') THEN timestampadd(MICROSECOND, CAST(given.delay * 1000000 AS SIGNED INTEGER), UTC_TIMESTAMP(6)) ELSE rowqueue_job.scheduled_at END WHERE rowqueue_job.id = given.id AND rowqueue_job.lease = given.lease AND rowqueue_job.state = 'running';
SELECT rowqueue_job.id, rowqueue_job.state
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id IN %s;

-- snooze
SELECT STRAIGHT_JOIN rowqueue_job.id, given.ordinal
FROM JSON_TABLE(%s, '$[*]' COLUMNS (ordinal FOR ORDINALITY, id BIGINT PATH '$[0]', lease BIGINT PATH '$[1]', delay DOUBLE PATH '$[2]')) AS given, rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id = given.id AND rowqueue_job.lease = given.lease AND rowqueue_job.state = 'running' FOR UPDATE;
UPDATE JSON_TABLE(%s, '$[*]' COLUMNS (ordinal FOR ORDINALITY, id BIGINT PATH '$[0]', lease BIGINT PATH '$[1]', delay DOUBLE PATH '$[2]')) AS given STRAIGHT_JOIN rowqueue_job FORCE INDEX (PRIMARY) SET rowqueue_job.state=CASE WHEN (rowqueue_job.cancel_requested_at IS NOT NULL) THEN 'cancelled' ELSE 'scheduled' END, rowqueue_job.leased_until=NULL, rowqueue_job.finalized_at=CASE WHEN (rowqueue_job.cancel_requested_at IS NOT NULL) THEN UTC_TIMESTAMP(6) END, rowqueue_job.attempt=(rowqueue_job.attempt - 1), rowqueue_job.snoozes=(rowqueue_job.snoozes + 1), rowqueue_job.scheduled_at=timestampadd(MICROSECOND, CAST(given.delay * 1000000 AS SIGNED INTEGER), UTC_TIMESTAMP(6)) WHERE rowqueue_job.id = given.id AND rowqueue_job.lease = given.lease AND rowqueue_job.state = 'running';
SELECT rowqueue_job.id, rowqueue_job.state
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id IN %s;

-- release
SELECT STRAIGHT_JOIN rowqueue_job.id, given.ordinal
FROM JSON_TABLE(%s, '$[*]' COLUMNS (ordinal FOR ORDINALITY, id BIGINT PATH '$[0]', lease BIGINT PATH '$[1]')) AS given, rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id = given.id AND rowqueue_job.lease = given.lease AND rowqueue_job.state = 'running' FOR UPDATE;
UPDATE JSON_TABLE(%s, '$[*]' COLUMNS (ordinal FOR ORDINALITY, id BIGINT PATH '$[0]', lease BIGINT PATH '$[1]')) AS given STRAIGHT_JOIN rowqueue_job FORCE INDEX (PRIMARY) SET rowqueue_job.state=CASE WHEN (rowqueue_job.cancel_requested_at IS NOT NULL) THEN 'cancelled' ELSE 'available' END, rowqueue_job.leased_until=NULL, rowqueue_job.finalized_at=CASE WHEN (rowqueue_job.cancel_requested_at IS NOT NULL) THEN UTC_TIMESTAMP(6) END, rowqueue_job.attempt=(rowqueue_job.attempt - 1) WHERE rowqueue_job.id = given.id AND rowqueue_job.lease = given.lease AND rowqueue_job.state = 'running';
SELECT rowqueue_job.id, rowqueue_job.state
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id IN %s;

-- skip
SELECT STRAIGHT_JOIN rowqueue_job.id, given.ordinal
FROM JSON_TABLE(%s, '$[*]' COLUMNS (ordinal FOR ORDINALITY, id BIGINT PATH '$[0]', lease BIGINT PATH '$[1]', error LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[2]')) AS given, rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id = given.id AND rowqueue_job.lease = given.lease AND rowqueue_job.state = 'running' FOR UPDATE;
UPDATE JSON_TABLE(%s, '$[*]' COLUMNS (ordinal FOR ORDINALITY, id BIGINT PATH '$[0]', lease BIGINT PATH '$[1]', error LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[2]')) AS given STRAIGHT_JOIN rowqueue_job FORCE INDEX (PRIMARY) SET rowqueue_job.state=CASE WHEN (rowqueue_job.cancel_requested_at IS NOT NULL) THEN 'cancelled' ELSE 'skipped' END, rowqueue_job.leased_until=NULL, rowqueue_job.finalized_at=UTC_TIMESTAMP(6), rowqueue_job.errors=CASE WHEN (given.error IS NULL) THEN rowqueue_job.errors ELSE CAST(concat(CASE WHEN (rowqueue_job.errors IS NULL OR char_length(CAST(rowqueue_job.errors AS CHAR)) > 262144) THEN '[' ELSE concat(substr(CAST(rowqueue_job.errors AS CHAR), 1, char_length(CAST(rowqueue_job.errors AS CHAR)) - 1), ',') END, '{"at":"', date_format(UTC_TIMESTAMP(6), '%%Y-%%m-%%dT%%H:%%i:%%s.%%fZ'), '","attempt":', CAST(rowqueue_job.attempt AS CHAR), ',"lease":', CAST(rowqueue_job.lease AS CHAR), ',', given.error, '}]') AS CHAR) END WHERE rowqueue_job.id = given.id AND rowqueue_job.lease = given.lease AND rowqueue_job.state = 'running';
SELECT rowqueue_job.id, rowqueue_job.state
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id IN %s;

-- skip_by_key
SELECT rowqueue_job.id
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE (rowqueue_job.id IN %s) AND rowqueue_job.state IN ('available', 'pending', 'retryable', 'scheduled') ORDER BY rowqueue_job.id FOR UPDATE;
UPDATE rowqueue_job FORCE INDEX (PRIMARY) SET state='skipped', leased_until=NULL, finalized_at=UTC_TIMESTAMP(6), errors=CASE WHEN (%s IS NULL) THEN rowqueue_job.errors ELSE CAST(concat(CASE WHEN (rowqueue_job.errors IS NULL OR char_length(CAST(rowqueue_job.errors AS CHAR)) > 262144) THEN '[' ELSE concat(substr(CAST(rowqueue_job.errors AS CHAR), 1, char_length(CAST(rowqueue_job.errors AS CHAR)) - 1), ',') END, '{"at":"', date_format(UTC_TIMESTAMP(6), '%%Y-%%m-%%dT%%H:%%i:%%s.%%fZ'), '","attempt":', CAST(rowqueue_job.attempt AS CHAR), ',"lease":', CAST(rowqueue_job.lease AS CHAR), ',', %s, '}]') AS CHAR) END, lease=(rowqueue_job.lease + 1) WHERE rowqueue_job.id IN %s;
SELECT rowqueue_job.id, rowqueue_job.queue, rowqueue_job.state, rowqueue_job.lease
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id IN %s;

-- cancel
SELECT STRAIGHT_JOIN rowqueue_job.id, given.ordinal
FROM JSON_TABLE(%s, '$[*]' COLUMNS (ordinal FOR ORDINALITY, id BIGINT PATH '$[0]', lease BIGINT PATH '$[1]', error LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[2]')) AS given, rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id = given.id AND rowqueue_job.lease = given.lease AND rowqueue_job.state = 'running' FOR UPDATE;
UPDATE JSON_TABLE(%s, '$[*]' COLUMNS (ordinal FOR ORDINALITY, id BIGINT PATH '$[0]', lease BIGINT PATH '$[1]', error LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[2]')) AS given STRAIGHT_JOIN rowqueue_job FORCE INDEX (PRIMARY) SET rowqueue_job.state='cancelled', rowqueue_job.leased_until=NULL, rowqueue_job.finalized_at=UTC_TIMESTAMP(6), rowqueue_job.errors=CASE WHEN (given.error IS NULL) THEN rowqueue_job.errors ELSE CAST(concat(CASE WHEN (rowqueue_job.errors IS NULL OR char_length(CAST(rowqueue_job.errors AS CHAR)) > 262144) THEN '[' ELSE concat(substr(CAST(rowqueue_job.errors AS CHAR), 1, char_length(CAST(rowqueue_job.errors AS CHAR)) - 1), ',') END, '{"at":"', date_format(UTC_TIMESTAMP(6), '%%Y-%%m-%%dT%%H:%%i:%%s.%%fZ'), '","attempt":', CAST(rowqueue_job.attempt AS CHAR), ',"lease":', CAST(rowqueue_job.lease AS CHAR), ',', given.error, '}]') AS CHAR) END WHERE rowqueue_job.id = given.id AND rowqueue_job.lease = given.lease AND rowqueue_job.state = 'running';
SELECT rowqueue_job.id, rowqueue_job.state
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id IN %s;

-- cancel_by_key
SELECT rowqueue_job.id
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE (rowqueue_job.id IN %s) AND rowqueue_job.state IN ('available', 'pending', 'retryable', 'running', 'scheduled') ORDER BY rowqueue_job.id FOR UPDATE;
UPDATE rowqueue_job FORCE INDEX (PRIMARY) SET finalized_at=CASE WHEN (rowqueue_job.state = 'running') THEN NULL ELSE UTC_TIMESTAMP(6) END, cancel_requested_at=coalesce(rowqueue_job.cancel_requested_at, UTC_TIMESTAMP(6)), errors=CASE WHEN (%s IS NULL) THEN rowqueue_job.errors ELSE CAST(concat(CASE WHEN (rowqueue_job.errors IS NULL OR char_length(CAST(rowqueue_job.errors AS CHAR)) > 262144) THEN '[' ELSE concat(substr(CAST(rowqueue_job.errors AS CHAR), 1, char_length(CAST(rowqueue_job.errors AS CHAR)) - 1), ',') END, '{"at":"', date_format(UTC_TIMESTAMP(6), '%%Y-%%m-%%dT%%H:%%i:%%s.%%fZ'), '","attempt":', CAST(rowqueue_job.attempt AS CHAR), ',"lease":', CAST(rowqueue_job.lease AS CHAR), ',', %s, '}]') AS CHAR) END, lease=CASE WHEN (rowqueue_job.state = 'running') THEN rowqueue_job.lease ELSE rowqueue_job.lease + 1 END, state=CASE WHEN (rowqueue_job.state = 'running') THEN 'running' ELSE 'cancelled' END WHERE rowqueue_job.id IN %s;
SELECT rowqueue_job.id, rowqueue_job.queue, rowqueue_job.state, rowqueue_job.lease
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id IN %s;

-- discard
SELECT STRAIGHT_JOIN rowqueue_job.id, given.ordinal
FROM JSON_TABLE(%s, '$[*]' COLUMNS (ordinal FOR ORDINALITY, id BIGINT PATH '$[0]', lease BIGINT PATH '$[1]', error LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[2]')) AS given, rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id = given.id AND rowqueue_job.lease = given.lease AND rowqueue_job.state = 'running' FOR UPDATE;
UPDATE JSON_TABLE(%s, '$[*]' COLUMNS (ordinal FOR ORDINALITY, id BIGINT PATH '$[0]', lease BIGINT PATH '$[1]', error LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[2]')) AS given STRAIGHT_JOIN rowqueue_job FORCE INDEX (PRIMARY) SET rowqueue_job.state=CASE WHEN (rowqueue_job.cancel_requested_at IS NOT NULL) THEN 'cancelled' ELSE 'discarded' END, rowqueue_job.leased_until=NULL, rowqueue_job.finalized_at=UTC_TIMESTAMP(6), rowqueue_job.errors=CASE WHEN (given.error IS NULL) THEN rowqueue_job.errors ELSE CAST(concat(CASE WHEN (rowqueue_job.errors IS NULL OR char_length(CAST(rowqueue_job.errors AS CHAR)) > 262144) THEN '[' ELSE concat(substr(CAST(rowqueue_job.errors AS CHAR), 1, char_length(CAST(rowqueue_job.errors AS CHAR)) - 1), ',') END, '{"at":"', date_format(UTC_TIMESTAMP(6), '%%Y-%%m-%%dT%%H:%%i:%%s.%%fZ'), '","attempt":', CAST(rowqueue_job.attempt AS CHAR), ',"lease":', CAST(rowqueue_job.lease AS CHAR), ',', given.error, '}]') AS CHAR) END WHERE rowqueue_job.id = given.id AND rowqueue_job.lease = given.lease AND rowqueue_job.state = 'running';
SELECT rowqueue_job.id, rowqueue_job.state
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id IN %s;

-- discard_by_key
SELECT rowqueue_job.id
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE (rowqueue_job.id IN %s) AND rowqueue_job.state IN ('available', 'pending', 'retryable', 'running', 'scheduled') ORDER BY rowqueue_job.id FOR UPDATE;
UPDATE rowqueue_job FORCE INDEX (PRIMARY) SET state='discarded', leased_until=NULL, finalized_at=UTC_TIMESTAMP(6), errors=CASE WHEN (%s IS NULL) THEN rowqueue_job.errors ELSE CAST(concat(CASE WHEN (rowqueue_job.errors IS NULL OR char_length(CAST(rowqueue_job.errors AS CHAR)) > 262144) THEN '[' ELSE concat(substr(CAST(rowqueue_job.errors AS CHAR), 1, char_length(CAST(rowqueue_job.errors AS CHAR)) - 1), ',') END, '{"at":"', date_format(UTC_TIMESTAMP(6), '%%Y-%%m-%%dT%%H:%%i:%%s.%%fZ'), '","attempt":', CAST(rowqueue_job.attempt AS CHAR), ',"lease":', CAST(rowqueue_job.lease AS CHAR), ',', %s, '}]') AS CHAR) END, lease=(rowqueue_job.lease + 1) WHERE rowqueue_job.id IN %s;
SELECT rowqueue_job.id, rowqueue_job.queue, rowqueue_job.state, rowqueue_job.lease
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id IN %s;

-- rescue
SELECT left_behind.id
FROM rowqueue_job AS left_behind FORCE INDEX (rowqueue_job_lease)
WHERE left_behind.leased_until < UTC_TIMESTAMP(6) AND left_behind.state = 'running' ORDER BY left_behind.leased_until
 LIMIT %s FOR UPDATE SKIP LOCKED;
UPDATE rowqueue_job FORCE INDEX (PRIMARY) SET state=CASE WHEN (rowqueue_job.cancel_requested_at IS NOT NULL) THEN 'cancelled' ELSE CASE WHEN (rowqueue_job.rescues + 1 >= %s OR rowqueue_job.attempt >= rowqueue_job.max_attempts) THEN 'discarded' ELSE 'available' END END, leased_until=NULL, finalized_at=CASE WHEN (CASE WHEN (rowqueue_job.cancel_requested_at IS NOT NULL) THEN 'cancelled' ELSE CASE WHEN (rowqueue_job.rescues + 1 >= %s OR rowqueue_job.attempt >= rowqueue_job.max_attempts) THEN 'discarded' ELSE 'available' END END IN ('cancelled', 'completed', 'discarded', 'skipped')) THEN UTC_TIMESTAMP(6) ELSE NULL END, errors=CAST(concat(CASE WHEN (rowqueue_job.errors IS NULL OR char_length(CAST(rowqueue_job.errors AS CHAR)) > 262144) THEN '[' ELSE concat(substr(CAST(rowqueue_job.errors AS CHAR), 1, char_length(CAST(rowqueue_job.errors AS CHAR)) - 1), ',') END, '{"at":"', date_format(UTC_TIMESTAMP(6), '%%Y-%%m-%%dT%%H:%%i:%%s.%%fZ'), '","attempt":', CAST(rowqueue_job.attempt AS CHAR), ',"lease":', CAST(rowqueue_job.lease AS CHAR), ',', '"error":', json_quote(concat('the lease ran out: ', coalesce(rowqueue_job.attempted_by, '?'), ' stopped renewing it')), '}]') AS CHAR), lease=(rowqueue_job.lease + 1), rescues=(rowqueue_job.rescues + 1) WHERE rowqueue_job.id IN %s;
SELECT rowqueue_job.id, rowqueue_job.kind, rowqueue_job.queue, rowqueue_job.state, rowqueue_job.lease, rowqueue_job.attempted_by
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id IN %s;

-- retry
SELECT rowqueue_job.id
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE (rowqueue_job.id IN %s) AND rowqueue_job.state IN ('available', 'cancelled', 'completed', 'discarded', 'pending', 'retryable', 'scheduled', 'skipped') ORDER BY rowqueue_job.id FOR UPDATE;
UPDATE rowqueue_job FORCE INDEX (PRIMARY) SET state='available', lease=(rowqueue_job.lease + 1), scheduled_at=UTC_TIMESTAMP(6), finalized_at=NULL, cancel_requested_at=NULL, max_attempts=CASE WHEN (rowqueue_job.attempt >= rowqueue_job.max_attempts) THEN rowqueue_job.attempt + 1 ELSE rowqueue_job.max_attempts END WHERE rowqueue_job.id IN %s;
SELECT rowqueue_job.id, rowqueue_job.queue, rowqueue_job.state, rowqueue_job.lease
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id IN %s;

-- retry_rival
SELECT rowqueue_job.id
FROM rowqueue_job
WHERE rowqueue_job.held_key = (SELECT mine.unique_key
FROM rowqueue_job AS mine
WHERE mine.id = %s) AND rowqueue_job.held_key IS NOT NULL AND rowqueue_job.id != %s;

-- prune
SELECT old.id
FROM rowqueue_job AS old FORCE INDEX (rowqueue_job_final)
WHERE old.state = %s AND old.finalized_at <= timestampadd(MICROSECOND, CAST((-%s) * 1000000 AS SIGNED INTEGER), UTC_TIMESTAMP(6)) AND coalesce(old.queue = %s, true) = 1 ORDER BY old.finalized_at
 LIMIT %s FOR UPDATE SKIP LOCKED;
SELECT rowqueue_job.id
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id IN %s;
DELETE FROM rowqueue_job WHERE rowqueue_job.id IN %s;

-- delete
SELECT rowqueue_job.id
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE (rowqueue_job.id IN %s) AND rowqueue_job.state IN ('cancelled', 'completed', 'discarded', 'skipped') ORDER BY rowqueue_job.id FOR UPDATE;
SELECT rowqueue_job.id
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id IN %s;
DELETE FROM rowqueue_job WHERE rowqueue_job.id IN %s;

-- delete_log
DELETE FROM rowqueue_log WHERE rowqueue_log.job_id IN %s;

-- progress
SELECT rowqueue_job.id
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id = %s AND rowqueue_job.lease = %s AND rowqueue_job.state = 'running' ORDER BY rowqueue_job.id FOR UPDATE;
UPDATE rowqueue_job FORCE INDEX (PRIMARY) SET progress=CAST(%s AS CHAR) WHERE rowqueue_job.id IN %s;
SELECT rowqueue_job.id
FROM rowqueue_job FORCE INDEX (PRIMARY)
WHERE rowqueue_job.id IN %s;

-- add_log
INSERT INTO rowqueue_log (job_id, lease, at, entry) SELECT rowqueue_job.id, rowqueue_job.lease, UTC_TIMESTAMP(6), CAST(%s AS CHAR) AS anon_1
FROM rowqueue_job
WHERE rowqueue_job.id = %s AND rowqueue_job.lease = %s AND rowqueue_job.state = 'running' RETURNING rowqueue_log.seq;

-- update_log
SELECT rowqueue_log.seq
FROM rowqueue_log FORCE INDEX (PRIMARY)
WHERE rowqueue_log.seq = %s AND rowqueue_log.job_id = %s AND rowqueue_log.lease = %s AND (EXISTS (SELECT *
FROM rowqueue_job
WHERE rowqueue_job.id = rowqueue_log.job_id AND rowqueue_job.lease = rowqueue_log.lease AND rowqueue_job.state = 'running')) ORDER BY rowqueue_log.seq FOR UPDATE;
UPDATE rowqueue_log FORCE INDEX (PRIMARY) SET entry=CAST(%s AS CHAR) WHERE rowqueue_log.seq IN %s;
SELECT rowqueue_log.seq
FROM rowqueue_log FORCE INDEX (PRIMARY)
WHERE rowqueue_log.seq IN %s;

-- log
SELECT rowqueue_log.job_id, rowqueue_log.lease, rowqueue_log.seq, rowqueue_log.at, CAST(rowqueue_log.entry AS CHAR) AS entry
FROM rowqueue_log
WHERE rowqueue_log.job_id = %s ORDER BY rowqueue_log.seq;

-- standing
SELECT rowqueue_job.id, rowqueue_job.lease, rowqueue_job.state, rowqueue_job.cancel_requested_at IS NOT NULL AS anon_1
FROM rowqueue_job
WHERE rowqueue_job.id IN %s;

-- get
SELECT rowqueue_job.id, rowqueue_job.kind, rowqueue_job.queue, rowqueue_job.state, rowqueue_job.priority, CAST(rowqueue_job.args AS CHAR) AS args, rowqueue_job.scheduled_at, rowqueue_job.attempt, rowqueue_job.max_attempts, rowqueue_job.failures, rowqueue_job.lease, rowqueue_job.leased_until, rowqueue_job.attempted_at, rowqueue_job.attempted_by, rowqueue_job.created_at, rowqueue_job.finalized_at, rowqueue_job.rescues, rowqueue_job.snoozes, rowqueue_job.timeout, rowqueue_job.cancel_requested_at, rowqueue_job.unique_key, rowqueue_job.unique_states, CAST(rowqueue_job.tags AS CHAR) AS tags, rowqueue_job.correlation_id, rowqueue_job.correlation_group, CAST(rowqueue_job.meta AS CHAR) AS meta, CAST(rowqueue_job.errors AS CHAR) AS errors, CAST(rowqueue_job.progress AS CHAR) AS progress, CAST(rowqueue_job.result AS CHAR) AS result
FROM rowqueue_job
WHERE rowqueue_job.id = %s;

-- list
SELECT rowqueue_job.id, rowqueue_job.kind, rowqueue_job.queue, rowqueue_job.state, rowqueue_job.priority, CAST(rowqueue_job.args AS CHAR) AS args, rowqueue_job.scheduled_at, rowqueue_job.attempt, rowqueue_job.max_attempts, rowqueue_job.failures, rowqueue_job.lease, rowqueue_job.leased_until, rowqueue_job.attempted_at, rowqueue_job.attempted_by, rowqueue_job.created_at, rowqueue_job.finalized_at, rowqueue_job.rescues, rowqueue_job.snoozes, rowqueue_job.timeout, rowqueue_job.cancel_requested_at, rowqueue_job.unique_key, rowqueue_job.unique_states, CAST(rowqueue_job.tags AS CHAR) AS tags, rowqueue_job.correlation_id, rowqueue_job.correlation_group, CAST(rowqueue_job.meta AS CHAR) AS meta, CAST(rowqueue_job.errors AS CHAR) AS errors, CAST(rowqueue_job.progress AS CHAR) AS progress, CAST(rowqueue_job.result AS CHAR) AS result
FROM rowqueue_job
WHERE rowqueue_job.id > %s ORDER BY rowqueue_job.id
 LIMIT %s;

-- stats
SELECT rowqueue_job.queue, rowqueue_job.state, count(*) AS count_1, -(timestampdiff(MICROSECOND, UTC_TIMESTAMP(6), min(CASE WHEN (rowqueue_job.state = 'available') THEN rowqueue_job.scheduled_at END)) * 1e-6) AS anon_1
FROM rowqueue_job GROUP BY rowqueue_job.queue, rowqueue_job.state;

-- stats_unclaimable
SELECT rowqueue_kind.name, rowqueue_kind.unclaimable, rowqueue_kind.unclaimable_at
FROM rowqueue_kind ORDER BY rowqueue_kind.name;

-- queues
SELECT rowqueue_queue.name, rowqueue_queue.paused_at, CAST(rowqueue_queue.settings AS CHAR) AS settings
FROM rowqueue_queue ORDER BY rowqueue_queue.name;

-- pause
SELECT rowqueue_queue.name
FROM rowqueue_queue FORCE INDEX (PRIMARY)
WHERE rowqueue_queue.name = %s AND rowqueue_queue.paused_at IS NULL ORDER BY rowqueue_queue.name FOR UPDATE;
UPDATE rowqueue_queue FORCE INDEX (PRIMARY) SET paused_at=UTC_TIMESTAMP(6) WHERE rowqueue_queue.name IN %s;
SELECT rowqueue_queue.name
FROM rowqueue_queue FORCE INDEX (PRIMARY)
WHERE rowqueue_queue.name IN %s;

-- pause_add
INSERT INTO rowqueue_queue (name) VALUES (%s) ON DUPLICATE KEY UPDATE name = rowqueue_queue.name;

-- resume
SELECT rowqueue_queue.name
FROM rowqueue_queue FORCE INDEX (PRIMARY)
WHERE rowqueue_queue.name = %s AND rowqueue_queue.paused_at IS NOT NULL ORDER BY rowqueue_queue.name FOR UPDATE;
UPDATE rowqueue_queue FORCE INDEX (PRIMARY) SET paused_at=NULL WHERE rowqueue_queue.name IN %s;
SELECT rowqueue_queue.name
FROM rowqueue_queue FORCE INDEX (PRIMARY)
WHERE rowqueue_queue.name IN %s;

-- unclaimable
SELECT rowqueue_kind.name
FROM rowqueue_kind FORCE INDEX (PRIMARY)
WHERE rowqueue_kind.name = %s ORDER BY rowqueue_kind.name FOR UPDATE;
UPDATE rowqueue_kind FORCE INDEX (PRIMARY) SET unclaimable=(rowqueue_kind.unclaimable + %s), unclaimable_at=UTC_TIMESTAMP(6) WHERE rowqueue_kind.name IN %s;
SELECT rowqueue_kind.name
FROM rowqueue_kind FORCE INDEX (PRIMARY)
WHERE rowqueue_kind.name IN %s;

-- unclaimable_add
INSERT INTO rowqueue_kind (name, unclaimable, unclaimable_at) VALUES (%s, 0, UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE name = rowqueue_kind.name;

-- unclaimable_forget
DELETE FROM rowqueue_kind WHERE rowqueue_kind.name IN %s;

-- heartbeat
SELECT rowqueue_worker.id
FROM rowqueue_worker FORCE INDEX (PRIMARY)
WHERE rowqueue_worker.id = %s ORDER BY rowqueue_worker.id FOR UPDATE;
UPDATE rowqueue_worker FORCE INDEX (PRIMARY) SET seen_at=UTC_TIMESTAMP(6), idle=%s WHERE rowqueue_worker.id IN %s;
SELECT rowqueue_worker.id
FROM rowqueue_worker FORCE INDEX (PRIMARY)
WHERE rowqueue_worker.id IN %s;

-- heartbeat_add
INSERT INTO rowqueue_worker (id, started_at, seen_at, idle, queues, kinds) VALUES (%s, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), %s, CAST(%s AS CHAR), CAST(%s AS CHAR)) ON DUPLICATE KEY UPDATE id = rowqueue_worker.id;

-- heartbeat_forget
DELETE FROM rowqueue_worker WHERE rowqueue_worker.id = %s;

-- heartbeat_prune
DELETE FROM rowqueue_worker WHERE rowqueue_worker.seen_at < timestampadd(MICROSECOND, CAST(%s * 1000000 AS SIGNED INTEGER), UTC_TIMESTAMP(6));

-- workers
SELECT rowqueue_worker.id, rowqueue_worker.started_at, rowqueue_worker.seen_at, rowqueue_worker.idle, CAST(rowqueue_worker.queues AS CHAR) AS queues, CAST(rowqueue_worker.kinds AS CHAR) AS kinds, -(timestampdiff(MICROSECOND, UTC_TIMESTAMP(6), rowqueue_worker.seen_at) * 1e-6) AS anon_1
FROM rowqueue_worker ORDER BY rowqueue_worker.id;

-- schema_present
SELECT count(*) AS count_1
FROM information_schema.tables
WHERE information_schema.tables.table_schema = coalesce(%s, database()) AND information_schema.tables.table_name = %s;

-- schema_version
SELECT max(rowqueue_version.version) AS max_1
FROM rowqueue_version;

-- schema_record
INSERT INTO rowqueue_version (version, applied_at) VALUES (%s, UTC_TIMESTAMP(6));

-- backfill_begin
INSERT INTO rowqueue_backfill_cursor (destination, version, begun_at) VALUES (%s, 0, UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE destination = rowqueue_backfill_cursor.destination;

-- backfill_take
SELECT left_behind.id
FROM rowqueue_backfill_range AS left_behind
WHERE left_behind.destination = %s AND (left_behind.leased_until IS NULL OR left_behind.leased_until < UTC_TIMESTAMP(6)) ORDER BY left_behind.id
 LIMIT 1 FOR UPDATE SKIP LOCKED;
UPDATE rowqueue_backfill_range FORCE INDEX (PRIMARY) SET lease=(rowqueue_backfill_range.lease + 1), leased_until=timestampadd(MICROSECOND, CAST(%s * 1000000 AS SIGNED INTEGER), UTC_TIMESTAMP(6)) WHERE rowqueue_backfill_range.id IN %s;
SELECT rowqueue_backfill_range.id, rowqueue_backfill_range.lease, rowqueue_backfill_range.first_key, rowqueue_backfill_range.last_key
FROM rowqueue_backfill_range FORCE INDEX (PRIMARY)
WHERE rowqueue_backfill_range.id IN %s;

-- backfill_look
SELECT rowqueue_backfill_cursor.`position`, rowqueue_backfill_cursor.version, rowqueue_backfill_cursor.begun_at, UTC_TIMESTAMP(6), (SELECT count(*) AS count_1
FROM rowqueue_backfill_range
WHERE rowqueue_backfill_range.destination = rowqueue_backfill_cursor.destination) AS anon_1
FROM rowqueue_backfill_cursor
WHERE rowqueue_backfill_cursor.destination = %s;

-- backfill_advance
SELECT rowqueue_backfill_cursor.destination
FROM rowqueue_backfill_cursor FORCE INDEX (PRIMARY)
WHERE rowqueue_backfill_cursor.destination = %s AND rowqueue_backfill_cursor.version = %s ORDER BY rowqueue_backfill_cursor.destination FOR UPDATE;
UPDATE rowqueue_backfill_cursor FORCE INDEX (PRIMARY) SET `position`=%s, version=(rowqueue_backfill_cursor.version + 1), begun_at=%s WHERE rowqueue_backfill_cursor.destination IN %s;
SELECT rowqueue_backfill_cursor.version
FROM rowqueue_backfill_cursor FORCE INDEX (PRIMARY)
WHERE rowqueue_backfill_cursor.destination IN %s;

-- backfill_add
INSERT INTO rowqueue_backfill_range (destination, first_key, last_key, lease, leased_until) VALUES (%s, %s, %s, 1, timestampadd(MICROSECOND, CAST(%s * 1000000 AS SIGNED INTEGER), UTC_TIMESTAMP(6))) RETURNING rowqueue_backfill_range.id, rowqueue_backfill_range.lease, rowqueue_backfill_range.first_key, rowqueue_backfill_range.last_key;

-- backfill_record
INSERT INTO rowqueue_backfill (destination, source_key, job_id) SELECT %s AS anon_1, given.source_key, given.job_id
FROM JSON_TABLE(%s, '$[*]' COLUMNS (ordinal FOR ORDINALITY, source_key LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[0]', job_id BIGINT PATH '$[1]')) AS given
WHERE 1 = 1 ORDER BY given.ordinal ON DUPLICATE KEY UPDATE destination = rowqueue_backfill.destination RETURNING rowqueue_backfill.job_id;

-- backfill_undo
DELETE FROM rowqueue_job WHERE rowqueue_job.id IN %s;

-- backfill_give_back
UPDATE rowqueue_backfill_range SET first_key=%s, leased_until=NULL WHERE rowqueue_backfill_range.id = %s AND rowqueue_backfill_range.lease = %s;

-- backfill_done
DELETE FROM rowqueue_backfill_range WHERE rowqueue_backfill_range.id = %s AND rowqueue_backfill_range.lease = %s;
