"""The version of the store's format. Pure.

One number stands for everything under the store's root: directories, documents, tables of the database. To change any
of it:

1. Count STORE_VERSION up.
2. Write the conversion from the previous version: files in `CONVERSIONS` of store/layout.py, tables in `MIGRATIONS` of
   store/schema.py.
3. Keep a store of the previous version in tests/data (tests/support/old_stores.py makes it).
4. Write the new FORMAT: tests/unit/store/test_versions.py computes it.

Caches with their own version (digests of contexts, indexes of layers) are not converted but made again.
"""

from __future__ import annotations

STORE_VERSION = 3
FORMAT = "19b406d3b478355ea4cd38af55a23ca79aab3100227d04c614fe6ea0d902151e"
"""Digest of tables and layout; a test compares it, so that nobody changes them without a new version."""
DIRECTORIES = ("oci/blobs/sha256", "trees", "indexes", "mounts", "digests", "downloads", "references", "tmp")
