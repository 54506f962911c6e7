"""The tables of the store's database, and the migrations from earlier versions. Pure.

All tables are a cache: the database may be damaged or dropped. What a user owns (names of images, references) is kept
in files beside it.
"""

from __future__ import annotations

SCHEMA = """
CREATE TABLE records (             -- of steps; builder/cache/records.py, the store knows layer and used only
    key TEXT PRIMARY KEY,          -- cache key of the step
    layer TEXT NOT NULL,           -- id of its layer's tree: the key, or another after --no-cache
    slot TEXT NOT NULL,            -- where in which Dockerfile: what a miss is compared with
    title TEXT NOT NULL,
    parts BLOB NOT NULL,           -- JSON [[name, value], ...], in the order of hashing
    created REAL NOT NULL,         -- when the step ran, seconds since the epoch
    seconds REAL NOT NULL,         -- how long it took
    used REAL NOT NULL             -- when it was last of use
) WITHOUT ROWID;
CREATE INDEX records_by_slot ON records (slot, used);
CREATE INDEX records_by_layer ON records (layer);
CREATE INDEX records_by_use ON records (used);
CREATE TABLE layer_blobs (
    layer TEXT NOT NULL,           -- tree id: cache key or chain id
    variant TEXT NOT NULL,         -- compression, level, clamping: what the bytes depend on
    diff_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    PRIMARY KEY (layer, variant)
) WITHOUT ROWID;
CREATE INDEX layer_blobs_by_digest ON layer_blobs (digest);
CREATE TABLE trees (
    id TEXT PRIMARY KEY,
    size INTEGER NOT NULL DEFAULT 0,
    used REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE blobs (
    digest TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    used REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE blob_places (
    digest TEXT NOT NULL,          -- a blob that the registry is known to hold
    registry TEXT NOT NULL,
    repository TEXT NOT NULL,
    seen REAL NOT NULL,
    PRIMARY KEY (digest, registry, repository)
) WITHOUT ROWID;
CREATE TABLE names (
    name TEXT NOT NULL,            -- canonical reference with tag
    platform TEXT NOT NULL,
    digest TEXT NOT NULL,          -- of the document that the name resolved to
    manifest TEXT NOT NULL,        -- of the platform's manifest
    checked REAL NOT NULL,
    PRIMARY KEY (name, platform)
) WITHOUT ROWID;
"""
_IMAGES = """
CREATE TABLE layer_sizes (
    diff_id TEXT PRIMARY KEY,
    size INTEGER NOT NULL          -- bytes that the layer unpacks to; layer/tar.py says what counts
) WITHOUT ROWID;
CREATE TABLE documents (           -- what lists of images need of manifests and indexes; store/facts.py
    digest TEXT PRIMARY KEY,
    stamp TEXT NOT NULL,           -- sizes and times of the files that the facts were read from
    facts BLOB NOT NULL,
    details BLOB NOT NULL,
    unpacked INTEGER NOT NULL      -- bytes that an image's layers unpack to; -1: not known
) WITHOUT ROWID;
"""
SCHEMA += _IMAGES

_VERSION_1 = 849229820  # `user_version` of version 1: a checksum of the text of its tables
MIGRATIONS: dict[int, tuple[int, str]] = {_VERSION_1: (2, ""), 2: (3, _IMAGES)}
"""By `user_version` of a database: the next version's number, and the statements that lead to it."""


def statements(script: str) -> list[str]:
    """Return the statements of a script one by one, because `executescript` commits the open transaction."""
    return [statement for statement in script.split(";\n") if statement.strip()]
