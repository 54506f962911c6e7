"""The oddities of registries in the field, as switches of FakeRegistry. Pure. For tests only.

docs/dev/registry.md has a row for each, with what firkin and others do about it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Quirks(NamedTuple):
    """How a registry differs from the specification; the defaults are one that does not. Statuses of 0 mean none."""

    # To strangers
    hide: int = 0  # what a repository answers instead of a 401 with a challenge (404, 403, or 401 without one)
    ping: int = 401  # what `GET /v2/` answers; 200: nobody is asked who they are
    challenge: Literal["plain", "among others", "lower case", "realm with query"] = "plain"
    # The token server
    token: Literal["plain", "access_token", "nulls", "text", "fraction", "html type"] = "plain"
    token_by_post: bool = False  # GET is answered 405, and a form is wanted
    token_busy: int = 0  # how often it answers 429 first
    # Uploads
    opened: int = 202  # the POST's status
    stored: int = 201  # the PUT's status
    patched: int = 202  # the PATCH's status
    put: int = 0  # what a PUT with a body is refused with
    patch: bool = True  # whether PATCH is known (405)
    location: Literal["path", "absolute", "relative", "upper case", "uuid only", "moves"] = "path"
    ranges: bool = True  # whether answers of an upload have a Range
    mount: int = 0  # what a mount is refused with
    # Manifests and blobs
    head: int = 0  # what a HEAD of a manifest is refused with
    digest: Literal["plain", "quoted", "none"] = "plain"  # Docker-Content-Digest
    content_type: str | None = None  # of all manifests; "": none
    named: int = 201  # the status when a manifest was put
    late_blobs: int = 0  # how often a manifest is refused with MANIFEST_BLOB_UNKNOWN first
    storage: str = ""  # `http://host:port`: blobs are redirected there, where no Authorization may come along
