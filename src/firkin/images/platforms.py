"""Chooses the images of some platforms from an index. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from firkin.errors import UsageError
from firkin.oci.descriptor import Descriptor
from firkin.oci.manifest import Index, encode_index
from firkin.oci.platform import Platform, match_rank

Offer = tuple[Descriptor, Platform]
"""An image of an index, and its platform."""


def choose_platforms(what: str, offers: Sequence[Offer], wanted: Iterable[Platform]) -> tuple[Descriptor, ...]:
    """Return the image that serves each wanted platform best, each once, in the order of the offers.

    Raises UsageError (`no-platform`) that lists what there is; `what` is the name to say it of.
    """
    chosen = []
    for platform in wanted:
        ranked = [
            (rank, number)
            for number, (_, offered) in enumerate(offers)
            if (rank := match_rank(platform, offered)) is not None
        ]
        if not ranked:
            there = ", ".join(dict.fromkeys(str(offered) for _, offered in offers)) or "none"
            raise UsageError(
                f"{what} has no image for {platform}", code="no-platform", hints=(f"it has images for: {there}",)
            )
        chosen.append(min(ranked)[1])
    return tuple(offers[number][0] for number in sorted(set(chosen)))


def preferred(offers: Sequence[Offer], host: Platform) -> Descriptor | None:
    """Return the image for this machine; the first if none is for it, None if there are no images."""
    ranked = [
        (rank, number)
        for number, (_, offered) in enumerate(offers)
        if (rank := match_rank(host, offered)) is not None
    ]
    return offers[min(ranked)[1] if ranked else 0][0] if offers else None


def part_of(index: Index, kept: Iterable[Descriptor]) -> Index:
    """Return the index with only some of its entries; its digest is another one."""
    digests = {item.digest for item in kept}
    entries = tuple(item for item in index.manifests if item.digest in digests)
    return encode_index(msgspec.structs.replace(index, manifests=entries))
