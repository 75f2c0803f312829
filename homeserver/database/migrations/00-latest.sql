-- v0 -> v1: Latest schema


-- ===== database =====
-- Numbers of NextID below next are given out or reserved.
CREATE TABLE ids (
	name TEXT   PRIMARY KEY,
	next BIGINT NOT NULL
);

-- Processes that hold leases. Times are of the server's clock, in milliseconds.
CREATE TABLE replicas (
	owner   TEXT   PRIMARY KEY,
	expires BIGINT NOT NULL
);

CREATE TABLE leases (
	name  TEXT PRIMARY KEY,
	owner TEXT NOT NULL
);

-- (end of database)


-- ===== stream =====
-- The newest position. Every transaction that appends locks this row, last of all.
CREATE TABLE stream_head (
	one BIGINT PRIMARY KEY,
	pos BIGINT NOT NULL
);
INSERT INTO stream_head (one, pos) VALUES (1, 0);

-- The log. Kinds 1 and 2 are events; of the other kinds only the newest row of a room, user and ref is kept.
CREATE TABLE changes (
	pos     BIGINT PRIMARY KEY,
	kind    BIGINT NOT NULL,
	room_id TEXT   NOT NULL,
	user_id TEXT   NOT NULL,
	ref     TEXT   NOT NULL
);
CREATE UNIQUE INDEX changes_newest ON changes (kind, room_id, user_id, ref) WHERE kind > 2;
CREATE INDEX changes_room ON changes (room_id, kind, pos) WHERE room_id <> '';
CREATE INDEX changes_user ON changes (user_id, kind, pos) WHERE user_id <> '';

-- How far each follower has come.
CREATE TABLE cursors (
	name TEXT   PRIMARY KEY,
	pos  BIGINT NOT NULL
);

-- (end of stream)


-- ===== account =====

CREATE TABLE users (
  user_id       TEXT PRIMARY KEY,
  password_hash TEXT,
  created       BIGINT NOT NULL,
  appservice    TEXT,
  user_type     TEXT,
  admin         BIGINT NOT NULL DEFAULT 0,
  guest         BIGINT NOT NULL DEFAULT 0,
  deactivated   BIGINT NOT NULL DEFAULT 0,
  erased        BIGINT NOT NULL DEFAULT 0,
  locked        BIGINT NOT NULL DEFAULT 0,
  suspended     BIGINT NOT NULL DEFAULT 0,
  shadow_banned BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE devices (
  user_id      TEXT NOT NULL,
  device_id    TEXT NOT NULL,
  display_name TEXT,
  created      BIGINT NOT NULL,
  last_seen_ts BIGINT NOT NULL DEFAULT 0,
  last_seen_ip TEXT,
  user_agent   TEXT,
  PRIMARY KEY (user_id, device_id)
);

-- hash: SHA-256 of the token. device_id '': no device. expires 0: never. refresh: hash of the refresh token issued
-- with it. confirms: hash of the refresh token it came out of, until it is used for the first time.
CREATE TABLE access_tokens (
  hash      TEXT PRIMARY KEY,
  user_id   TEXT NOT NULL,
  device_id TEXT NOT NULL,
  created   BIGINT NOT NULL,
  expires   BIGINT NOT NULL,
  refresh   TEXT NOT NULL,
  confirms  TEXT NOT NULL
);
CREATE INDEX access_tokens_device_idx ON access_tokens (user_id, device_id);
CREATE INDEX access_tokens_expires_idx ON access_tokens (expires) WHERE expires > 0;

CREATE TABLE refresh_tokens (
  hash      TEXT PRIMARY KEY,
  user_id   TEXT NOT NULL,
  device_id TEXT NOT NULL,
  created   BIGINT NOT NULL,
  expires   BIGINT NOT NULL,
  confirms  TEXT NOT NULL,
  spent     BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX refresh_tokens_device_idx ON refresh_tokens (user_id, device_id);

-- Applications that may ask for access, and what was given to them.
CREATE TABLE oauth_clients (
  client_id TEXT NOT NULL PRIMARY KEY,
  metadata  TEXT NOT NULL,
  created   BIGINT NOT NULL
);
CREATE TABLE oauth_sessions (
  user_id   TEXT NOT NULL,
  device_id TEXT NOT NULL,
  client_id TEXT NOT NULL,
  PRIMARY KEY (user_id, device_id)
);
-- Who somebody is at an OpenID provider.
CREATE TABLE oauth_subjects (
  provider TEXT NOT NULL,
  subject  TEXT NOT NULL,
  user_id  TEXT NOT NULL,
  PRIMARY KEY (provider, subject)
);
CREATE INDEX oauth_subjects_user_idx ON oauth_subjects (user_id);
-- What browsers and devices hold for a while, found by its hash.
CREATE TABLE oauth_tickets (
  kind    TEXT NOT NULL,
  hash    TEXT NOT NULL,
  data    TEXT NOT NULL,
  expires BIGINT NOT NULL,
  PRIMARY KEY (kind, hash)
);
CREATE INDEX oauth_tickets_expires_idx ON oauth_tickets (expires);

-- Short-lived secrets, found by the hash of what the client holds.
CREATE TABLE tickets (
  kind    TEXT NOT NULL,
  hash    TEXT NOT NULL,
  user_id TEXT NOT NULL,
  data    TEXT NOT NULL,
  expires BIGINT NOT NULL,
  PRIMARY KEY (kind, hash)
);
CREATE INDEX tickets_expires_idx ON tickets (expires) WHERE expires > 0;
CREATE INDEX tickets_user_idx ON tickets (user_id) WHERE user_id <> '';

CREATE TABLE registration_tokens (
  token        TEXT PRIMARY KEY,
  uses_allowed BIGINT,
  completed    BIGINT NOT NULL,
  expires      BIGINT,
  created      BIGINT NOT NULL
);

CREATE TABLE threepids (
  medium       TEXT NOT NULL,
  address      TEXT NOT NULL,
  user_id      TEXT NOT NULL,
  validated_at BIGINT NOT NULL,
  added_at     BIGINT NOT NULL,
  PRIMARY KEY (medium, address)
);
CREATE INDEX threepids_user_idx ON threepids (user_id);
-- Links sent to addresses, and whether they were followed.
CREATE TABLE threepid_validations (
  sid           TEXT NOT NULL PRIMARY KEY,
  client_secret TEXT NOT NULL,
  address       TEXT NOT NULL,
  purpose       TEXT NOT NULL, -- register, password or add
  secret        TEXT NOT NULL, -- hash of what stands in the link
  send_attempt  BIGINT NOT NULL,
  validated_at  BIGINT NOT NULL, -- 0: not yet
  next_link     TEXT NOT NULL,
  expires       BIGINT NOT NULL
);
CREATE INDEX threepid_validations_client_idx ON threepid_validations (client_secret, address);
CREATE INDEX threepid_validations_expires_idx ON threepid_validations (expires);

-- (mail) Messages that wait to be sent.
CREATE TABLE outgoing_mails (
  nid         BIGINT NOT NULL PRIMARY KEY,
  recipient   TEXT NOT NULL,
  subject     TEXT NOT NULL,
  body        TEXT NOT NULL,
  html        TEXT NOT NULL,
  unsubscribe TEXT NOT NULL,
  created     BIGINT NOT NULL,
  due         BIGINT NOT NULL,
  tries       BIGINT NOT NULL
);
CREATE INDEX outgoing_mails_due_idx ON outgoing_mails (due);

-- fields: a JSON object.
CREATE TABLE profiles (
  user_id TEXT PRIMARY KEY,
  fields  TEXT NOT NULL
);

-- room_id '': global. content '{}': deleted, kept so that clients that sync on hear of it.
CREATE TABLE account_data (
  user_id TEXT NOT NULL,
  room_id TEXT NOT NULL,
  type    TEXT NOT NULL,
  content TEXT NOT NULL,
  pos     BIGINT NOT NULL,
  PRIMARY KEY (user_id, room_id, type)
);
CREATE INDEX account_data_pos_idx ON account_data (user_id, pos);

CREATE TABLE filters (
  user_id   TEXT NOT NULL,
  filter_id BIGINT NOT NULL,
  hash      TEXT NOT NULL,
  filter    TEXT NOT NULL,
  PRIMARY KEY (user_id, filter_id)
);
CREATE UNIQUE INDEX filters_hash_idx ON filters (user_id, hash);

-- (end of account)


-- ===== policy =====

-- (end of policy)


-- ===== room =====

-- A room known here. version is the guard of every write: an opaque number that each write replaces.
-- state_id 0: no state known (somebody here was invited or knocked, nobody is inside).
CREATE TABLE rooms (
	room_nid     BIGINT PRIMARY KEY, -- only: postgres
	room_nid     INTEGER PRIMARY KEY, -- only: sqlite
	room_id      TEXT   NOT NULL UNIQUE,
	version      BIGINT NOT NULL,
	room_version TEXT   NOT NULL,
	state_id     BIGINT NOT NULL,
	extremities  TEXT   NOT NULL,
	joined       BIGINT NOT NULL,
	joined_local BIGINT NOT NULL,
	invited      BIGINT NOT NULL
);

-- Every event, body stored once. ord: place in the room's history (NULL: not part of it); pos: place in the log (NULL: not live).
-- state_id: state before it; current_id: the current state after a live one. flags: 1 rejected, 2 soft-failed, 4 outlier, 8 history, 16 gap before.
-- txn_key: hash of room, sender and device for events sent with a transaction ID.
CREATE TABLE events (
	nid       BIGINT PRIMARY KEY, -- only: postgres
	nid       INTEGER PRIMARY KEY, -- only: sqlite
	room_nid  BIGINT NOT NULL,
	event_id  TEXT   NOT NULL UNIQUE,
	type      TEXT   NOT NULL,
	state_key TEXT,
	sender    TEXT   NOT NULL,
	depth     BIGINT NOT NULL,
	ts        BIGINT NOT NULL,
	pos       BIGINT,
	ord       BIGINT,
	state_id  BIGINT NOT NULL,
	current_id BIGINT NOT NULL,
	flags     BIGINT NOT NULL,
	device_id TEXT,
	txn_id    TEXT,
	txn_key   BIGINT,
	json      TEXT   NOT NULL
);
CREATE INDEX events_history ON events (room_nid, ord) WHERE ord IS NOT NULL;
CREATE INDEX events_txn ON events (txn_key, nid) WHERE txn_key IS NOT NULL;

-- State of a room at a point: the parent's entries changed by these (JSON list of event nids; a negative one takes the entry of
-- that event away). parent NULL: all entries stand here.
CREATE TABLE state_snapshots (
	id       BIGINT PRIMARY KEY, -- only: postgres
	id       INTEGER PRIMARY KEY, -- only: sqlite
	parent   BIGINT,
	pending  BIGINT NOT NULL,
	entries  TEXT   NOT NULL
);

-- Current membership of everyone ever in a room, as the current state (or an invitation from outside) says.
CREATE TABLE members (
	room_nid    BIGINT NOT NULL,
	user_id     TEXT   NOT NULL,
	membership  TEXT   NOT NULL,
	event_nid   BIGINT NOT NULL,
	event_id    TEXT   NOT NULL,
	sender      TEXT   NOT NULL,
	pos         BIGINT NOT NULL,
	displayname TEXT,
	avatar_url  TEXT,
	forgotten   BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (room_nid, user_id)
);
CREATE INDEX members_user ON members (user_id, room_nid);

-- What an invitation or a knock told about a room whose state is not known here (JSON list).
CREATE TABLE stripped_states (
	room_nid BIGINT NOT NULL,
	user_id  TEXT   NOT NULL,
	state    TEXT   NOT NULL,
	PRIMARY KEY (room_nid, user_id)
);

-- applied 0: the redacted event is not known here yet.
CREATE TABLE redactions (
	event_id    TEXT   NOT NULL,
	redacted_by TEXT   NOT NULL,
	applied     BIGINT NOT NULL,
	PRIMARY KEY (event_id, redacted_by)
);

CREATE TABLE aliases (
	alias   TEXT   PRIMARY KEY,
	room_id TEXT   NOT NULL,
	creator TEXT   NOT NULL,
	ts      BIGINT NOT NULL
);
CREATE INDEX aliases_room ON aliases (room_id);

-- Rooms that an operator lets nobody of this server enter.
CREATE TABLE blocked_rooms (
	room_id    TEXT   PRIMARY KEY,
	blocked_by TEXT   NOT NULL,
	ts         BIGINT NOT NULL
);

-- What lists of rooms show, as the current state says. folded: the name in small letters.
CREATE TABLE room_looks (
	room_nid           BIGINT PRIMARY KEY, -- only: postgres
	room_nid           INTEGER PRIMARY KEY, -- only: sqlite
	federated          BIGINT NOT NULL,
	tombstoned         BIGINT NOT NULL,
	name               TEXT   NOT NULL,
	folded             TEXT   NOT NULL,
	topic              TEXT   NOT NULL,
	avatar_url         TEXT   NOT NULL,
	alias              TEXT   NOT NULL,
	type               TEXT   NOT NULL,
	creator            TEXT   NOT NULL,
	encryption         TEXT   NOT NULL,
	join_rule          TEXT   NOT NULL,
	guest_access       TEXT   NOT NULL,
	history_visibility TEXT   NOT NULL,
	replacement        TEXT   NOT NULL
);

-- (end of room)


-- ===== timeline =====
-- An event that points at another one through m.relates_to.
CREATE TABLE relations (
	event_id      TEXT   PRIMARY KEY,
	parent_id     TEXT   NOT NULL,
	room_id       TEXT   NOT NULL,
	rel_type      TEXT   NOT NULL,
	event_type    TEXT   NOT NULL,
	sender        TEXT   NOT NULL,
	parent_sender TEXT   NOT NULL, -- '' if the parent was not known
	ts            BIGINT NOT NULL,
	ord           BIGINT NOT NULL, -- place in the history of the room
	redacted      BIGINT NOT NULL
);
CREATE INDEX relations_parent ON relations (parent_id, ord);
CREATE INDEX relations_thread ON relations (room_id, ord) WHERE rel_type = 'm.thread';

-- (end of timeline)


-- ===== clientsync =====
-- What a device was sent on a connection of sliding sync, as of one of its positions. parent is the state it was made from.
CREATE TABLE sliding_connections (
	user_id   TEXT   NOT NULL,
	device_id TEXT   NOT NULL,
	conn_id   TEXT   NOT NULL,
	version   BIGINT NOT NULL,
	parent    BIGINT NOT NULL,
	created   BIGINT NOT NULL, -- ms
	state     TEXT   NOT NULL, -- JSON
	PRIMARY KEY (user_id, device_id, conn_id, version)
);

-- (end of clientsync)


-- ===== e2ee =====
-- identity keys of the devices of our users
CREATE TABLE device_keys (
	user_id   TEXT NOT NULL,
	device_id TEXT NOT NULL,
	keys      TEXT NOT NULL,
	PRIMARY KEY (user_id, device_id)
);

-- owner = user_id, U+001F, device_id; seq grows with the time of upload: the smallest is given out first
CREATE TABLE one_time_keys (
	owner     TEXT   NOT NULL,
	algorithm TEXT   NOT NULL,
	seq       BIGINT NOT NULL,
	key_id    TEXT   NOT NULL,
	key       TEXT   NOT NULL,
	PRIMARY KEY (owner, algorithm, seq)
) WITHOUT ROWID;

-- counts the uploads of a device, so that two at the same time cannot store one key twice
CREATE TABLE key_uploads (
	owner   TEXT   NOT NULL PRIMARY KEY,
	version BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE fallback_keys (
	owner     TEXT   NOT NULL,
	algorithm TEXT   NOT NULL,
	key_id    TEXT   NOT NULL,
	key       TEXT   NOT NULL,
	used      BIGINT NOT NULL,
	PRIMARY KEY (owner, algorithm)
);

-- what changed in the device lists of our users, for other servers; device_id '' stands for the cross-signing keys
CREATE TABLE device_list_changes (
	user_id   TEXT   NOT NULL,
	pos       BIGINT NOT NULL,
	device_id TEXT   NOT NULL,
	ts        BIGINT NOT NULL,
	PRIMARY KEY (user_id, pos, device_id)
);
CREATE INDEX device_list_changes_ts ON device_list_changes (ts);

-- cross-signing keys of our users and of the remote users whose device lists are followed; usage: master, self_signing, user_signing
CREATE TABLE cross_signing_keys (
	user_id TEXT NOT NULL,
	usage   TEXT NOT NULL,
	key     TEXT NOT NULL,
	PRIMARY KEY (user_id, usage)
);

-- target_id: a device ID, or the public part of a master key
CREATE TABLE key_signatures (
	signer      TEXT NOT NULL,
	target_user TEXT NOT NULL,
	target_id   TEXT NOT NULL,
	key_id      TEXT NOT NULL,
	signature   TEXT NOT NULL,
	PRIMARY KEY (signer, target_user, target_id, key_id)
);

-- remote users whose device lists are kept here; generation grows with each update that arrives while the list is stale;
-- asked_pos is our position when the list was last asked for
CREATE TABLE remote_device_lists (
	user_id    TEXT   NOT NULL PRIMARY KEY,
	stream_id  BIGINT NOT NULL,
	stale      BIGINT NOT NULL,
	generation BIGINT NOT NULL,
	asked_pos  BIGINT NOT NULL,
	retry_ts   BIGINT NOT NULL,
	failures   BIGINT NOT NULL
);
CREATE INDEX remote_device_lists_stale ON remote_device_lists (retry_ts) WHERE stale = 1;

CREATE TABLE remote_devices (
	user_id      TEXT NOT NULL,
	device_id    TEXT NOT NULL,
	keys         TEXT,
	display_name TEXT,
	PRIMARY KEY (user_id, device_id)
);

CREATE TABLE to_device_inbox (
	user_id   TEXT   NOT NULL,
	device_id TEXT   NOT NULL,
	pos       BIGINT NOT NULL,
	event     TEXT   NOT NULL,
	PRIMARY KEY (user_id, device_id, pos)
) WITHOUT ROWID;

-- EDUs that a destination has not acknowledged yet
CREATE TABLE to_device_outbox (
	destination TEXT   NOT NULL,
	pos         BIGINT NOT NULL,
	seq         BIGINT NOT NULL,
	content     TEXT   NOT NULL,
	PRIMARY KEY (destination, pos, seq)
);

-- transactions of clients and messages of other servers that were taken already
CREATE TABLE to_device_seen (
	id          TEXT   NOT NULL PRIMARY KEY,
	version     BIGINT NOT NULL,
	received_ts BIGINT NOT NULL
);
CREATE INDEX to_device_seen_ts ON to_device_seen (received_ts);

CREATE TABLE key_backups (
	user_id   TEXT   NOT NULL,
	version   BIGINT NOT NULL,
	algorithm TEXT   NOT NULL,
	auth_data TEXT   NOT NULL,
	etag      BIGINT NOT NULL,
	key_count BIGINT NOT NULL,
	deleted   BIGINT NOT NULL,
	PRIMARY KEY (user_id, version)
);

CREATE TABLE key_backup_sessions (
	user_id             TEXT   NOT NULL,
	version             BIGINT NOT NULL,
	room_id             TEXT   NOT NULL,
	session_id          TEXT   NOT NULL,
	first_message_index BIGINT NOT NULL,
	forwarded_count     BIGINT NOT NULL,
	is_verified         BIGINT NOT NULL,
	session_data        TEXT   NOT NULL,
	PRIMARY KEY (user_id, version, room_id, session_id)
);

CREATE TABLE dehydrated_devices (
	user_id      TEXT NOT NULL PRIMARY KEY,
	device_id    TEXT NOT NULL,
	device_data  TEXT NOT NULL,
	display_name TEXT NOT NULL
);

-- (end of e2ee)


-- ===== ephemeral =====

CREATE TABLE typing (
	room_id  TEXT   NOT NULL,
	user_id  TEXT   NOT NULL,
	until_ts BIGINT NOT NULL, -- ms; 0 when no longer typing
	PRIMARY KEY (room_id, user_id)
);
CREATE INDEX typing_until ON typing (until_ts) WHERE until_ts > 0;

CREATE TABLE receipts (
	room_id      TEXT   NOT NULL,
	user_id      TEXT   NOT NULL,
	receipt_type TEXT   NOT NULL,
	thread_id    TEXT   NOT NULL, -- empty for an unthreaded receipt
	event_id     TEXT   NOT NULL,
	ts           BIGINT NOT NULL,
	ord          BIGINT NOT NULL, -- of the event in the room's history, 0 when it is not known here
	pos          BIGINT NOT NULL,
	PRIMARY KEY (room_id, user_id, receipt_type, thread_id)
);
CREATE INDEX receipts_pos ON receipts (room_id, pos);

CREATE TABLE presence (
	user_id        TEXT   NOT NULL PRIMARY KEY,
	state          TEXT   NOT NULL,
	status_msg     TEXT   NOT NULL,
	last_active_ts BIGINT NOT NULL,
	pos            BIGINT NOT NULL
);
CREATE INDEX presence_pos ON presence (pos);

-- (end of ephemeral)


-- ===== media =====

CREATE TABLE media (
	origin       TEXT   NOT NULL,
	media_id     TEXT   NOT NULL,
	user_id      TEXT   NOT NULL,
	content_type TEXT   NOT NULL,
	upload_name  TEXT   NOT NULL,
	size         BIGINT NOT NULL,
	blob         TEXT   NOT NULL, -- SHA-256 of the content, empty while the upload is pending
	created_ts   BIGINT NOT NULL,
	state        BIGINT NOT NULL, -- 0 pending, 1 done
	quarantined  BIGINT NOT NULL,
	PRIMARY KEY (origin, media_id)
);
CREATE INDEX media_user ON media (user_id, created_ts);

CREATE TABLE media_thumbnails (
	blob           TEXT   NOT NULL, -- of the original
	width          BIGINT NOT NULL,
	height         BIGINT NOT NULL,
	method         TEXT   NOT NULL,
	animated       BIGINT NOT NULL,
	content_type   TEXT   NOT NULL,
	size           BIGINT NOT NULL,
	thumbnail_blob TEXT   NOT NULL,
	PRIMARY KEY (blob, width, height, method, animated)
);

-- (end of media)


-- ===== directory =====

CREATE TABLE published_rooms (
	room_id TEXT NOT NULL,
	network TEXT NOT NULL, -- empty: the list of this server
	PRIMARY KEY (room_id, network)
);

CREATE TABLE user_directory (
	user_id      TEXT NOT NULL PRIMARY KEY,
	display_name TEXT NOT NULL,
	avatar_url   TEXT NOT NULL
);

CREATE TABLE user_directory_words (
	word    TEXT NOT NULL, -- folded: no case, no accents
	user_id TEXT NOT NULL,
	PRIMARY KEY (word, user_id)
);
CREATE INDEX user_directory_words_user ON user_directory_words (user_id);

-- (end of directory)


-- ===== push =====
-- What a user changed of the predefined push rules, and their own rules (JSON).
CREATE TABLE push_rules (
	user_id TEXT PRIMARY KEY,
	rules   TEXT NOT NULL
);

-- What was counted as unread up to a position, to go on from there. rules: hash of what decided; other rules: count again.
CREATE TABLE unread_counts (
	user_id TEXT   NOT NULL,
	room_id TEXT   NOT NULL,
	pos     BIGINT NOT NULL,
	rules   TEXT   NOT NULL,
	cell    TEXT   NOT NULL,
	PRIMARY KEY (user_id, room_id)
);

CREATE TABLE pushers (
	nid                 BIGINT PRIMARY KEY,
	user_id             TEXT   NOT NULL,
	device_id           TEXT   NOT NULL, -- '' if the session had none
	app_id              TEXT   NOT NULL,
	pushkey             TEXT   NOT NULL,
	kind                TEXT   NOT NULL,
	app_display_name    TEXT   NOT NULL,
	device_display_name TEXT   NOT NULL,
	profile_tag         TEXT   NOT NULL,
	lang                TEXT   NOT NULL,
	data                TEXT   NOT NULL,
	enabled             BIGINT NOT NULL,
	updated_ts          BIGINT NOT NULL
);
CREATE UNIQUE INDEX pushers_user ON pushers (user_id, app_id, pushkey);
CREATE INDEX pushers_key ON pushers (app_id, pushkey);

-- What push gateways are to be told. event_id '': only that counts have changed.
CREATE TABLE push_queue (
	pusher_nid BIGINT NOT NULL,
	pos        BIGINT NOT NULL,
	event_id   TEXT   NOT NULL,
	tweaks     TEXT   NOT NULL,
	queued_ts  BIGINT NOT NULL,
	PRIMARY KEY (pusher_nid, pos)
);

-- (end of push)


-- ===== appservices =====

CREATE TABLE appservice_transactions (
	service  TEXT   NOT NULL PRIMARY KEY,
	seq      BIGINT NOT NULL, -- of the transaction sent last
	last_pos BIGINT NOT NULL, -- of its last change
	body     TEXT   NOT NULL, -- empty once the service has taken it
	taken    TEXT   NOT NULL  -- the to-device messages in it, as JSON
);

-- (end of appservices)


-- ===== federation =====

CREATE TABLE staged_events (
	nid         BIGINT NOT NULL PRIMARY KEY,
	room_id     TEXT   NOT NULL,
	origin      TEXT   NOT NULL,
	event_id    TEXT   NOT NULL,
	json        TEXT   NOT NULL,
	received_ts BIGINT NOT NULL,
	due_ts      BIGINT NOT NULL, -- when the sweep takes it
	tries       BIGINT NOT NULL
);
CREATE INDEX staged_events_room ON staged_events (room_id, nid);
CREATE INDEX staged_events_due ON staged_events (due_ts);

CREATE TABLE outbound_events (
	server   TEXT   NOT NULL,
	pos      BIGINT NOT NULL,
	room_id  TEXT   NOT NULL,
	event_id TEXT   NOT NULL,
	PRIMARY KEY (server, pos, event_id)
);

-- The newest event of each room for servers that have been away for long.
CREATE TABLE outbound_rooms (
	server   TEXT   NOT NULL,
	room_id  TEXT   NOT NULL,
	pos      BIGINT NOT NULL,
	event_id TEXT   NOT NULL,
	PRIMARY KEY (server, room_id)
);

CREATE TABLE outbound_devices (
	server    TEXT   NOT NULL,
	user_id   TEXT   NOT NULL,
	after_pos BIGINT NOT NULL, -- changes up to here have been sent
	pos       BIGINT NOT NULL,
	PRIMARY KEY (server, user_id)
);

CREATE TABLE destinations (
	server           TEXT   NOT NULL PRIMARY KEY,
	failures         BIGINT NOT NULL,
	failing_since_ts BIGINT NOT NULL,
	retry_ts         BIGINT NOT NULL,
	success_ts       BIGINT NOT NULL
);

CREATE TABLE server_keys (
	server         TEXT   NOT NULL,
	key_id         TEXT   NOT NULL,
	public_key     TEXT   NOT NULL,
	valid_until_ts BIGINT NOT NULL,
	expired_ts     BIGINT NOT NULL, -- 0 while current
	fetched_ts     BIGINT NOT NULL,
	PRIMARY KEY (server, key_id)
);

CREATE TABLE server_key_documents (
	server     TEXT   NOT NULL PRIMARY KEY,
	json       TEXT   NOT NULL,
	fetched_ts BIGINT NOT NULL
);

-- (end of federation)


-- ===== admin =====

-- The room in which a user gets messages of the operator.
CREATE TABLE notice_rooms (
	user_id TEXT NOT NULL PRIMARY KEY,
	room_id TEXT NOT NULL
);

-- What users tell moderators. kind: event, room or user. event_id '': the room as a whole. user_id: the sender of the event,
-- or the user reported. Who reports a thing again replaces the reason.
CREATE TABLE reports (
	id       BIGINT NOT NULL PRIMARY KEY,
	kind     TEXT   NOT NULL,
	reporter TEXT   NOT NULL,
	room_id  TEXT   NOT NULL,
	event_id TEXT   NOT NULL,
	user_id  TEXT   NOT NULL,
	reason   TEXT,
	score    BIGINT,
	ts       BIGINT NOT NULL
);
CREATE UNIQUE INDEX reports_thing ON reports (kind, reporter, room_id, event_id, user_id);
CREATE INDEX reports_time ON reports (kind, ts, id);

-- What operators have asked for that outlives the request. subject: a room or a user. input, result: JSON.
CREATE TABLE admin_jobs (
	id       TEXT   NOT NULL PRIMARY KEY,
	kind     TEXT   NOT NULL,
	subject  TEXT   NOT NULL,
	operator TEXT   NOT NULL,
	status   TEXT   NOT NULL,
	input    TEXT   NOT NULL,
	result   TEXT   NOT NULL,
	error    TEXT   NOT NULL,
	ts       BIGINT NOT NULL
);
CREATE INDEX admin_jobs_subject ON admin_jobs (kind, subject);
CREATE INDEX admin_jobs_open ON admin_jobs (ts) WHERE status NOT IN ('complete', 'failed');

-- (end of admin)
