"""The tables of `system df`. Pure. `cli.commands` only. Mirrors: docker/cli cli/command/formatter/disk_usage.go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from firkin.builder.cache.usage import CacheItem
from firkin.containers.disk import ContainerUse, DiskUse, VolumeUse
from firkin.containers.documents.status import status_words
from firkin.images.names import NONE, repository_and_tag
from firkin.images.usage import ImagesUse
from firkin.render.rows import rows_text
from firkin.render.units import ago, short_id, size3, size4
from firkin.text import seconds_of

FIELDS = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}
DEFAULT = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}"
RAW = (
    "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\nreclaimable: {{.Reclaimable}}\n"
)
_IMAGES = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "Size": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "Containers": "CONTAINERS",
}
_CONTAINERS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "LocalVolumes": "LOCAL VOLUMES",
    "Size": "SIZE",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "Names": "NAMES",
}
_COMMAND = 20  # characters that docker shows of one
_VOLUMES = {"Name": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"}
_CACHE = {
    "ID": "CACHE ID",
    "CacheType": "CACHE TYPE",
    "Size": "SIZE",
    "CreatedSince": "CREATED",
    "LastUsedSince": "LAST USED",
    "UsageCount": "USAGE",
    "Shared": "SHARED",
}


def summary_rows(images: ImagesUse, items: Iterable[CacheItem], kept: DiskUse) -> list[dict[str, str]]:
    """Return the four rows."""
    listed = tuple(items)
    own = [item for item in listed if not item.shared]
    running = [use for use in kept.containers if use.state.running]
    linked = [use for use in kept.volumes if use.links]
    return [
        _row("Images", len(images.images), images.active, images.size_bytes, images.reclaimable_bytes, percent=True),
        _row("Containers", len(kept.containers), len(running), *_of(kept.containers, running), percent=True),
        _row("Local Volumes", len(kept.volumes), len(linked), *_of(kept.volumes, linked), percent=True),
        _row(
            "Build Cache", len(listed), sum(item.in_use for item in listed), sum(item.size_bytes for item in own),
            sum(item.size_bytes for item in own if not item.in_use), percent=False,
        ),
    ]  # fmt: skip


def _of(uses: Sequence[ContainerUse | VolumeUse], needed: Sequence[ContainerUse | VolumeUse]) -> tuple[int, int]:
    """Return the bytes of all, and of those that are not needed."""
    size = sum(use.size_bytes for use in uses)
    return size, size - sum(use.size_bytes for use in needed)


def _row(kind: str, total: int, active: int, size: int, reclaimable: int, *, percent: bool) -> dict[str, str]:
    share = f" ({reclaimable * 100 // size}%)" if percent and size else ""
    return {
        "Type": kind,
        "TotalCount": str(total),
        "Active": str(active),
        "Size": size4(size),
        "Reclaimable": f"{size4(reclaimable)}{share}",
    }


def verbose_text(images: ImagesUse, items: tuple[CacheItem, ...], kept: DiskUse, now_s: float) -> str:
    """Return the four sections of `system df -v`."""
    used = sum(item.size_bytes for item in items if not item.shared)
    sections: tuple[tuple[str, dict[str, str], list[dict[str, str]]], ...] = (
        ("Images space usage:", _IMAGES, image_rows(images, now_s)),
        ("Containers space usage:", _CONTAINERS, container_rows(kept, now_s)),
        ("Local Volumes space usage:", _VOLUMES, volume_rows(kept)),
        (f"Build cache usage: {size4(used)}", _CACHE, cache_rows(items, now_s)),
    )
    return "\n".join(
        f"{title}\n\n{rows_text('', fields, rows, _template(fields))}" for title, fields, rows in sections
    )


def _template(fields: dict[str, str]) -> str:
    return "\t".join(f"{{{{.{name}}}}}" for name in fields)


def document_of(
    images: ImagesUse, items: tuple[CacheItem, ...], kept: DiskUse, now_s: float
) -> dict[str, object]:
    """Return the object of `system df -v --format json`: lists of rows, all values texts."""
    return {
        "BuildCache": [dict(sorted(row.items())) for row in cache_rows(items, now_s)],
        "Containers": [dict(sorted(row.items())) for row in container_rows(kept, now_s)],
        "Images": [dict(sorted(row.items())) for row in image_rows(images, now_s)],
        "Volumes": [dict(sorted(row.items())) for row in volume_rows(kept)],
    }


def image_rows(images: ImagesUse, now_s: float) -> list[dict[str, str]]:
    """Return a row for each image, with the first of its names only."""
    rows = []
    for use in images.images:
        image = use.image
        names = image.names or image.digests or ("",)
        repository, tag = repository_and_tag(names[0])
        created = image.created_s
        rows.append({
            "Repository": repository,
            "Tag": tag or NONE,
            "ID": short_id(image.id),
            "CreatedSince": "N/A" if created is None else ago(max(0.0, now_s - created)),
            "Size": size3(max(0, image.size_bytes)),
            "SharedSize": size3(use.shared_bytes),
            "UniqueSize": size3(use.unique_bytes),
            "Containers": str(use.containers),
        })  # fmt: skip
    return rows


def container_rows(kept: DiskUse, now_s: float) -> list[dict[str, str]]:
    """Return a row for each container."""
    return [
        {
            "ID": short_id(use.record.id),
            "Image": use.record.config.image,
            "Command": _quoted(" ".join((use.record.path, *use.record.args))),
            "LocalVolumes": str(use.volumes),
            "Size": size3(use.size_bytes),
            "RunningFor": ago(max(0.0, now_s - (seconds_of(use.record.created) or now_s))),
            "Status": status_words(use.state, now_s),
            "Names": use.record.name,
        }
        for use in kept.containers
    ]


def _quoted(command: str) -> str:
    short = command if len(command) <= _COMMAND else f"{command[: _COMMAND - 1]}…"
    return '"' + short.replace("\\", "\\\\").replace('"', '\\"') + '"'


def volume_rows(kept: DiskUse) -> list[dict[str, str]]:
    """Return a row for each volume."""
    return [{"Name": use.name, "Links": str(use.links), "Size": size3(use.size_bytes)} for use in kept.volumes]


def cache_rows(items: Iterable[CacheItem], now_s: float) -> list[dict[str, str]]:
    """Return a row for each item of the cache."""
    return [
        {
            "ID": f"{short_id(item.id)}{'*' * item.mutable}",
            "CacheType": item.type,
            "Size": size3(item.size_bytes),
            "CreatedSince": ago(max(0.0, now_s - item.created_s)) if item.created_s else "",
            "LastUsedSince": ago(max(0.0, now_s - item.used_s)) if item.used_s else "",
            "UsageCount": "1",
            "Shared": "true" if item.shared else "false",
        }
        for item in items
    ]
