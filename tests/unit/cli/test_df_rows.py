"""The tables of `system df`, `buildx du` and `buildx prune`."""

from __future__ import annotations

import json

import pytest

from firkin.builder.cache.usage import DOWNLOAD, LAYER, MOUNT, CacheItem
from firkin.cli import cache_rows, df_rows
from firkin.cli.cache_rows import tests_of as make_tests
from firkin.cli.commands.buildx_prune import cache_age_s
from firkin.cli.commands.system_prune import warning
from firkin.containers.disk import ContainerUse, DiskUse, VolumeUse
from firkin.containers.documents.config import Config, HostConfig
from firkin.containers.documents.record import MountPoint, Record, State
from firkin.errors import UsageError
from firkin.images.list import Listed
from firkin.images.usage import ImagesUse, ImageUse
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.render.rows import rows_text
from firkin.templates.values import json_text

NOW = 1_700_000_000.0
ID = "sha256:" + "0123456789ab" + "c" * 52
ROOT = Descriptor("", Digest("sha256:" + "f" * 64), 1)
IMAGE = Listed(
    ID, ROOT, ROOT, ("docker.io/library/app:1", "docker.io/library/app:2"), (), "2023-11-14T21:13:20Z",
    size_bytes=1500, platforms=("linux/amd64",), compressed_bytes=10,
)  # fmt: skip
IMAGES = ImagesUse((ImageUse(IMAGE, 500, 1000, 0),), 1500)
ITEMS = (
    CacheItem("a" * 64, LAYER, 2_000_000, NOW - 60, NOW - 7200, description="RUN make"),
    CacheItem("b" * 64, MOUNT, 1000, NOW - 7200),
    CacheItem("d" * 64, DOWNLOAD, 500, NOW - 90_000, in_use=True),
    CacheItem("e" * 64, LAYER, 7000, NOW - 5, shared=True),
)


def container(name: str, state: State, size: int, *args: str) -> ContainerUse:
    record = Record(
        1, name.ljust(64, "0"), name, "2023-11-14T20:13:20Z", ID, Config(image="app:1"), HostConfig(), args[0], args[1:], (),
        (MountPoint("volume", "/data", "data"), MountPoint("bind", "/h")),
    )  # fmt: skip
    return ContainerUse(record, state, size)


KEPT = DiskUse(
    (
        container("web", State(started_at="2023-11-14T20:13:20Z", finished_at="2023-11-14T22:12:00Z", exit_code=3), 1000,
                  "sh", "-c", '"while true; do sleep 1; done"'),
        container("db", State(running=True, started_at="2023-11-14T20:13:20Z"), 1, "db"),
    ),
    (VolumeUse("data", 2000, 0),),
)  # fmt: skip


def test_the_summary_has_dockers_columns() -> None:
    rows = df_rows.summary_rows(IMAGES, ITEMS, KEPT)
    assert rows_text("", df_rows.FIELDS, rows, df_rows.DEFAULT) == (
        "TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\n"
        "Images          1         0         1.5kB     1kB (66%)\n"
        "Containers      2         1         1.001kB   1kB (99%)\n"
        "Local Volumes   1         0         2kB       2kB (100%)\n"
        "Build Cache     4         1         2.002MB   2.001MB\n"
    )
    first = json.loads(rows_text("json", df_rows.FIELDS, rows, df_rows.DEFAULT).splitlines()[0])
    assert first == {"Type": "Images", "TotalCount": "1", "Active": "0", "Size": "1.5kB", "Reclaimable": "1kB (66%)"}


def test_every_image_and_item_is_in_the_long_form() -> None:
    text = df_rows.verbose_text(IMAGES, ITEMS, KEPT, NOW)
    sections = text.split("\n\n")
    assert [line for line in text.splitlines() if "usage:" in line] == [
        "Images space usage:", "Containers space usage:", "Local Volumes space usage:", "Build cache usage: 2.002MB"
    ]  # fmt: skip
    assert sections[1].splitlines()[0].split("   ")[0] == "REPOSITORY"
    assert sections[1].splitlines()[1].split() == [
        "app", "1", "0123456789ab", "About", "an", "hour", "ago", "1.5kB", "500B", "1kB", "0"
    ]  # fmt: skip
    assert sections[3].splitlines()[1].split("  ")[0] == "web000000000"
    assert '"sh -c \\"while true; …"   1               1kB       2 hours ago   Exited (3) About a minute ago' in text
    assert "data          0         2kB" in text
    assert "bbbbbbbbbbbb*   exec.cachemount   1kB" in text


def test_the_long_form_as_json_has_four_lists() -> None:
    document = json.loads(json_text(df_rows.document_of(IMAGES, ITEMS, KEPT, NOW)))
    assert list(document) == ["BuildCache", "Containers", "Images", "Volumes"]
    assert document["Images"][0]["UniqueSize"] == "1kB" and len(document["BuildCache"]) == 4
    assert [row["Names"] for row in document["Containers"]] == ["web", "db"]
    assert document["Volumes"] == [{"Links": "0", "Name": "data", "Size": "2kB"}]


def test_du_marks_what_steps_change_and_what_images_have() -> None:
    rows = cache_rows.rows_of(ITEMS, NOW, marked=True)
    assert rows_text("", cache_rows.FIELDS, rows, cache_rows.DEFAULT) == (
        "ID              RECLAIMABLE   SIZE      LAST ACCESSED\n"
        "aaaaaaaaaaaa    true          2MB       About a minute ago\n"
        "bbbbbbbbbbbb*   true          1kB       2 hours ago\n"
        "dddddddddddd    false         500B      25 hours ago\n"
        "eeeeeeeeeeee    true          7kB*      5 seconds ago\n"
    )
    assert cache_rows.totals_text(ITEMS) == "Shared:\t\t7kB\nPrivate:\t2MB\nReclaimable:\t2.01MB\nTotal:\t\t2.01MB\n"
    assert cache_rows.totals_text(ITEMS[:1]) == "Reclaimable:\t2MB\nTotal:\t\t2MB\n"
    assert "Description: RUN make\n" in cache_rows.verbose_text(ITEMS, NOW)


@pytest.mark.parametrize(("word", "ids"), [
    ("type=exec.cachemount", "b"), ("type!=regular", "bd"), ("id=" + "a" * 64, "a"), ("id=aaa", "a"), ("id~=^[ab]", "ab"),
    ("description~=make$", "a"), ("inuse", "d"), ("inuse=false", "abe"), ("inuse!=true", "abe"), ("mutable", "b"),
    ("immutable=true", "ade"), ("shared", "e"), ("private", "abd"), ("until=1h", "bd"), ("unused-for=24h", "d"),
])  # fmt: skip
def test_filters_of_du(word: str, ids: str) -> None:
    (test,) = make_tests([word], NOW)
    assert "".join(item.id[0] for item in ITEMS if test(item)) == ids


@pytest.mark.parametrize("word", ["x=1", "id~=(", "until=soon", "=", "UNTIL=1h"])
def test_what_is_no_filter_of_du(word: str) -> None:
    with pytest.raises(UsageError):
        make_tests([word], NOW)


def test_prunes_of_the_cache_know_ages() -> None:
    assert cache_age_s((), NOW) == 0
    assert cache_age_s(("until=24h",), NOW) == 86400
    assert cache_age_s(("unused-for=1h", "until=2h"), NOW) == 7200
    with pytest.raises(UsageError, match="invalid filter 'type'"):
        cache_age_s(("type=regular",), NOW)


def test_what_a_system_prune_warns_of() -> None:
    assert warning((), everything=False, volumes=False) == (
        "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n"
        "  - all dangling images\n  - unused build cache\n"
    )
    text = warning(("label=x", "until=1h"), everything=True, volumes=True)
    assert "  - all anonymous volumes not used by at least one container\n" in text
    assert text.endswith("  - all build cache\n\n  Items to be pruned will be filtered with:\n  - label=x\n  - until=1h\n")
