"""An image's layers as one tree: what is where, and which layers are read to say so."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest
from support.explored import Made, blobs_asked_for, layer

from firkin.errors import RegistryError, StepFailed, UsageError
from firkin.events import Event, Progress
from firkin.images.explore.content import read_files
from firkin.images.explore.files import ImageFiles
from firkin.images.explore.session import Session
from firkin.layer.limits import UnpackLimits
from firkin.oci.platform import Platform
from firkin.store.store import Store
from firkin.testing.registry import FakeRegistry

Open = Callable[..., Session]
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")

BASE = layer(
    "dir /", "dir /etc 0755", "file /etc/passwd 0644 root", "file /etc/old 0600 1:2 old", "dir /srv", "file /srv/a a",
    "file /srv/b b", "dir /usr", "dir /usr/lib", "file /usr/lib/so so", "link /lib -> usr/lib",
    "link /absolute -> /etc/passwd", "link /up -> ../../../etc/passwd", "link /circle -> circle2",
    "link /circle2 -> circle", "hard /usr/again = /etc/old", "fifo /pipe",
)  # fmt: skip
MIDDLE = layer("dir /etc 0700", "gone /etc/old", "file /etc/new new", "file /lib/more more")
TOP = layer("dir /srv 0711", "opaque /srv", "file /srv/c c", "file /etc/passwd 0640 5:6 changed")


def cat(session: Session, files: ImageFiles, path: str) -> bytes:
    file = files.resolve(path)
    found: list[bytes] = []
    read_files(
        files.layers[file.layer], (file.path,), session.store.layout.scratch_path,
        lambda path, pieces: found.extend(map(bytes, pieces)),
    )  # fmt: skip
    assert not [name for name in os.listdir(session.store.layout.scratch) if name.startswith("content")]
    return b"".join(found)


def names(files: ImageFiles, path: str) -> list[str]:
    return [file.path.rpartition("/")[2] for file in files.list(files.resolve(path).path)]


@pytest.fixture
def name(registry: FakeRegistry) -> str:
    return Made(BASE, MIDDLE, TOP).serve(registry, "app:1")


def test_the_tree_is_the_one_that_a_container_sees(begin: Open, name: str) -> None:
    session = begin()
    files = session.open(name, AMD64)
    session.prepare(files.layers)
    assert names(files, "/") == ["absolute", "circle", "circle2", "etc", "lib", "pipe", "srv", "up", "usr"]
    assert names(files, "/etc") == ["new", "passwd"]  # `old` was removed
    assert names(files, "/srv") == ["c"]  # opaque
    assert names(files, "/lib") == ["more"]  # a directory took the place of the link
    assert names(files, "usr/lib/") == ["so"]
    shown = {file.path: (file.layer, file.entry.mode, file.entry.uid, file.entry.size) for file in files.walk("")}
    assert shown["etc"] == (1, 0o700, 0, 0)
    assert shown["etc/passwd"] == (2, 0o640, 5, 7)
    assert shown["usr/again"] == (0, 0o600, 1, 3)  # a hard link has the attributes of its file, which is gone
    assert list(shown)[:3] == ["absolute", "circle", "circle2"] and "srv/a" not in shown
    assert cat(session, files, "/usr/again") == b"old"


def test_links_are_followed_inside_the_image(begin: Open, name: str) -> None:
    session = begin()
    files = session.open(name, AMD64)
    for path in ("absolute", "/absolute", "up", "/etc/../etc//passwd", "../../etc/passwd"):
        assert cat(session, files, path) == b"changed"
    assert files.resolve("absolute", follow=False).entry.kind == "symlink"
    for path, why in (("circle", "circle"), ("etc/old", "no such file"), ("etc/passwd/x", "no such"), ("srv/a", "no such")):
        with pytest.raises(UsageError, match=why) as caught:
            files.resolve(path)
        assert caught.value.code == "no-file"


def test_only_the_layers_that_decide_are_fetched_the_top_first(begin: Open, registry: FakeRegistry) -> None:
    made = Made(BASE, MIDDLE, TOP)
    name = made.serve(registry, "app:1")
    session = begin()
    files = session.open(name, AMD64)
    assert blobs_asked_for(registry, made) == []
    assert cat(session, files, "etc/passwd") == b"changed"
    assert blobs_asked_for(registry, made) == [2]
    with pytest.raises(UsageError):
        files.resolve("srv/a")  # hidden by the opaque directory: nothing below matters
    assert blobs_asked_for(registry, made) == [2]
    with pytest.raises(UsageError):
        files.resolve("etc/old")  # the whiteout decides
    assert blobs_asked_for(registry, made) == [2, 1]
    assert cat(session, files, "usr/lib/so") == b"so"
    assert blobs_asked_for(registry, made) == [2, 1, 0]


def test_no_layer_is_read_twice_over_several_runs(begin: Open, registry: FakeRegistry, store: Store) -> None:
    made = Made(BASE, MIDDLE, BASE, TOP)  # one of them twice
    name = made.serve(registry, "app:1")
    for _ in range(2):
        session = begin()
        files = session.open(name, AMD64)
        session.prepare(files.layers)
        assert list(files.walk(""))
        assert cat(session, files, "usr/lib/so") == b"so"
    assert sorted(blobs_asked_for(registry, made)) == [0, 1, 3]
    assert store.images.entries() == ()
    # Where the blobs were removed, the index is enough to list; contents are fetched again.
    for digest in {known.descriptor.digest for known in made.image.layers}:
        os.unlink(store.blobs.path(digest))
    session = begin()
    files = session.open(name, AMD64)
    session.prepare(files.layers)
    assert list(files.walk("")) and len(blobs_asked_for(registry, made)) == 3
    assert cat(session, files, "srv/c") == b"c"
    assert blobs_asked_for(registry, made)[3:] == [3]


def test_an_image_of_the_store_needs_no_registry(begin: Open, store: Store, registry: FakeRegistry) -> None:
    made = Made(BASE, MIDDLE, TOP)
    made.keep(store, f"{registry.host}/app:1")
    session = begin()
    for text in (f"{registry.host}/app:1", made.image.manifest.digest, made.image.config.digest[7:20]):
        assert cat(session, session.open(text, AMD64), "etc/new") == b"new"
    assert registry.seen == []
    Made(layer("file /etc/new newer")).serve(registry, "app:1")
    assert cat(session, session.open(f"docker://{registry.host}/app:1", AMD64), "etc/new") == b"newer"


def test_names_and_platforms_that_are_not_there(begin: Open, store: Store, registry: FakeRegistry) -> None:
    Made(BASE, architecture="arm64").keep(store, "arm:1")
    session = begin()
    assert session.open("arm:1", AMD64).image.config.platform == ARM64  # the only one there is
    with pytest.raises(UsageError, match="not there for linux/amd64") as caught:
        session.open("arm:1", AMD64, exact=True)
    assert "linux/arm64" in str(caught.value.hints[0])
    with pytest.raises(UsageError, match=r"no image|No such image"):
        session.open("sha256:" + "0" * 64, AMD64)
    with pytest.raises(RegistryError):
        session.open(f"{registry.host}/app:none", AMD64)


@pytest.mark.parametrize("wrong", ["content", "diff_id"])
def test_nothing_of_a_wrong_layer_is_believed(
    begin: Open, store: Store, registry: FakeRegistry, wrong: str
) -> None:
    """Neither bytes that differ from the digest, nor a sound blob that is not the layer that the image names."""
    made = Made(TOP)
    name = made.serve(registry, "app:1")
    digest = made.image.layers[0].descriptor.digest
    if wrong == "content":
        raw = bytearray(registry.blobs["app", digest])
        raw[-1] ^= 1
        registry.blobs["app", digest] = bytes(raw)
    else:
        # The store knows the index of the honest layer, and another manifest gives its diff_id to another blob.
        session = begin()
        session.prepare(session.open(name, AMD64).layers)
        name = Lying(made, Made(layer("file /etc/passwd evil"))).serve(registry, "evil:1")
    session = begin()
    files = session.open(name, AMD64)
    with pytest.raises(RegistryError):
        cat(session, files, "etc/passwd")
    assert wrong == "diff_id" or (os.listdir(store.layout.indexes) == [] and store.blobs.size(digest) is None)
    assert not os.listdir(store.layout.scratch)


class Lying(Made):
    """An image with the configuration of one, and the blobs of another."""

    def __init__(self, told: Made, sent: Made) -> None:
        super().__init__()
        from firkin.oci.image import Layer, assemble

        pairs = zip(told.image.layers, sent.image.layers, strict=True)
        layers = tuple(Layer(one.diff_id, other.descriptor) for one, other in pairs)
        self.image = assemble(told.image.config, layers, "oci")
        self.blobs = sent.blobs


def test_a_layer_beyond_the_limits_is_refused(begin: Open, registry: FakeRegistry) -> None:
    name = Made(layer(*(f"file /f{number} x" for number in range(20)))).serve(registry, "app:1")
    session = begin(limits=UnpackLimits(entries=10))
    with pytest.raises(StepFailed, match="more than the 10 entries") as caught:
        session.open(name, AMD64).resolve("f1")
    assert caught.value.code == "unpack-limit"


@pytest.mark.parametrize("lines", [("file /../up x",), ("file /a/../../up x",)])
def test_a_name_that_leads_out_of_the_image_is_refused(begin: Open, registry: FakeRegistry, lines: tuple[str]) -> None:
    tar = layer(*lines)
    assert b".." in tar
    name = Made(tar).serve(registry, "app:1")
    session = begin()
    with pytest.raises(RegistryError, match="leads out of the root"):
        session.open(name, AMD64).resolve("up")


def test_the_last_member_of_a_path_counts(begin: Open, registry: FakeRegistry) -> None:
    tar = layer(
        "file /twice first", "file /once once", "hard /linked = /twice", "file /twice second!", "hard /alias = /once",
        "link /etc -> real", "dir /real", "file /etc/x through", "file /mixed was", "link /mixed -> once",
        "hard /chain = /alias", "hard /loop = /loop", "hard /lost = /nowhere",
    )  # fmt: skip
    name = Made(tar).serve(registry, "app:1")
    session = begin()
    files = session.open(name, AMD64)
    wanted = {"twice": b"second!", "linked": b"first", "once": b"once", "alias": b"once", "chain": b"once",
              "real/x": b"through", "mixed": b"once", "loop": b"", "lost": b""}  # fmt: skip
    assert {path: cat(session, files, path) for path in wanted} == wanted


def test_links_through_many_directories_take_no_time_to_speak_of(begin: Open, registry: FakeRegistry) -> None:
    deep = "a/" * 400
    lines = [f"link /l{number} -> {deep}../../../l{number + 1}" for number in range(200)]
    name = Made(layer(f"file /{deep}f x", *lines)).serve(registry, "app:1")
    files = begin().open(name, AMD64)
    start = time.process_time()
    with pytest.raises(UsageError):
        files.resolve("l0")
    assert time.process_time() - start < 10


def test_downloads_are_told_and_counted(begin: Open, registry: FakeRegistry) -> None:
    name = Made(BASE).serve(registry, "app:1")
    events: list[Event] = []
    session = begin(events=events)
    session.prepare(session.open(name, AMD64).layers)
    assert [event.current for event in events if isinstance(event, Progress)][-1] == len(Made(BASE).blobs[0])


def test_an_image_without_layers(begin: Open, registry: FakeRegistry) -> None:
    name = Made().serve(registry, "app:1")
    session = begin()
    files = session.open(name, AMD64)
    session.prepare(files.layers)
    assert list(files.walk("")) == []
    root = files.resolve("/")
    assert (root.path, root.entry.kind, root.layer) == ("", "dir", -1)
