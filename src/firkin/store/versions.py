"""The version of the store's format. Pure.

One number stands for everything under the store's root: directories, documents, tables of the database. To change any
of it:

1. Count STORE_VERSION up.
2. Write the conversion from the previous version: files in `CONVERSIONS` of store/layout.py, tables in `MIGRATIONS` of
   store/schema.py.
3. Keep a store of the previous version in tests/data (tests/support/old_stores.py makes it).
4. Write the new FORMAT: tests/unit/store/test_versions.py computes it.

Caches with their own version (digests of contexts, indexes of layers) are not converted but made again. Containers and
volumes lie beside (docs/dev/container-state.md): their documents have versions of their own, and a firkin that does not
know them leaves them alone and keeps what their references name.
"""

from __future__ import annotations

STORE_VERSION = 3
FORMAT = "f64294906be624f2de1f0ef40424902be865c4fc430227de4e57db70eaa0732f"
"""Digest of tables and layout; a test compares it, so that nobody changes them without a new version."""
DIRECTORIES = ("oci/blobs/sha256", "trees", "indexes", "mounts", "digests", "downloads", "references", "tmp")
