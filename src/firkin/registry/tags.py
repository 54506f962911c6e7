"""The tags of a repository, page by page. Does I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from firkin.errors import RegistryError
from firkin.oci import codec
from firkin.oci.reference import Reference
from firkin.registry.protocol import Endpoint, next_page, repository_scope
from firkin.registry.session import Session

if TYPE_CHECKING:
    from firkin.oci.gojson import Shape

_MAX_TAG_PAGES = 2000
_MAX_IDLE_PAGES = 10  # pages in a row without a new tag
_MAX_TAG_BYTES = 64 * 1024 * 1024


class _TagPage(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    name: object = None
    tags: list[str] | None = None


def _tag_page_shape() -> Shape:
    from firkin.oci.gojson import TEXTS, Shape

    return Shape(_TagPage, tags=TEXTS)


def list_tags(session: Session, endpoint: Endpoint, ref: Reference) -> tuple[str, ...]:
    """Return the tags of a repository, in the registry's order. Raises RegistryError."""
    what = f"cannot list the tags of `{ref.name}`"
    url = endpoint.url(ref.repository, "tags/list")
    tags: dict[str, None] = {}
    seen, total, idle = {url}, 0, 0
    while True:
        response = session.call(
            endpoint, "GET", url, what=what, repository=ref.repository,
            scopes=(repository_scope(ref.repository, "pull"),), accept=(200,),
        )
        try:
            page = codec.decode_like_go(response.body, _TagPage, "list of tags", _tag_page_shape).tags or []
        except ValueError as error:
            raise RegistryError(
                f"{what}: `{endpoint.host}` sends no list: {error}", code="registry-answer"
            ) from None
        before = len(tags)
        tags.update(dict.fromkeys(page))
        total += len(response.body)
        idle = idle + 1 if len(tags) == before else 0
        following = next_page(response)
        # In some registries the last page links to itself.
        if following is None or following == url:
            return tuple(tags)
        endless = following in seen or idle > _MAX_IDLE_PAGES
        if endless or len(seen) >= _MAX_TAG_PAGES or total > _MAX_TAG_BYTES:
            raise RegistryError(
                f"{what}: the list of `{endpoint.host}` does not come to an end "
                f"({len(tags)} tags on {len(seen)} pages)", code="registry-answer",
            )
        seen.add(following)
        url = following
