"""The version of the store's format. Pure.

One number stands for everything under the store's root: directories, documents, tables of the database. Whoever changes
any of it

1. counts STORE_VERSION up,
2. writes how a store of the version before becomes one of this: files in `CONVERSIONS` of store/layout.py, tables in
   `MIGRATIONS` of store/schema.py,
3. keeps a store of the version before in tests/data (tests/support/old_stores.py makes it),
4. writes the new FORMAT, which tests/unit/store/test_versions.py tells.

Caches that carry a version of their own (digests of contexts, indexes of layers) are made anew instead.
"""

from __future__ import annotations

STORE_VERSION = 2
FORMAT = "8c2a1c61af9c9c698dc4dd7bf145ecf77be0dec012b3f45bb29ee534cef2fde6"
"""Digest of tables and layout; a test compares it, so that nobody changes them and forgets the number."""
DIRECTORIES = ("oci/blobs/sha256", "trees", "indexes", "mounts", "digests", "downloads", "references", "tmp")
