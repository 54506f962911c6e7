"""Entries of layer caches: written and read back, and what is refused because it says something else."""

from __future__ import annotations

import msgspec
import pytest

from firkin.builder.cache.entry import (
    ANNOTATION,
    MAX_LAYER_BYTES,
    CacheEntry,
    annotation_of,
    belongs,
    encode_entry,
    is_name,
    read_entries,
    read_entry,
)
from firkin.builder.graph.key import key_of
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, digest_of
from firkin.oci.image import Layer
from firkin.oci.manifest import Manifest, encode_manifest
from firkin.oci.platform import Platform

KEY = "a" * 64
BLOB = Layer(DiffID(digest_of(b"tar")), Descriptor(media.layer_media_type("oci", "gzip"), digest_of(b"gz"), 2))
ENTRY = CacheEntry(KEY, KEY, BLOB, "gzip:6:", 5.0, 6.0, 0.5, "RUN make", ("x",))


def carried(entry: CacheEntry) -> Manifest:
    return encode_entry(entry, Platform("linux", "amd64"))[1]


def changed(**fields: object) -> Manifest:
    """Return the manifest of an entry whose line or layer says something else."""
    layer = {name: fields.pop(name) for name in ("media_type", "size") if name in fields}
    line = msgspec.json.decode(annotation_of(((0, ENTRY),)))
    line[0].update(fields)
    manifest = carried(ENTRY)
    return encode_manifest(
        msgspec.structs.replace(
            manifest,
            layers=(msgspec.structs.replace(manifest.layers[0], **layer),),
            annotations=((ANNOTATION, msgspec.json.encode(line).decode()),),
            raw=b"",
        )
    )


def test_an_entry_comes_back() -> None:
    config, manifest = encode_entry(ENTRY, Platform("linux", "amd64"))
    assert read_entry(manifest, KEY) == ENTRY and read_entries(manifest) == (ENTRY,)
    assert encode_entry(ENTRY, Platform("linux", "amd64")) == (config, manifest)
    assert read_entries(msgspec.structs.replace(manifest, annotations=())) == ()


def test_urls_and_signs_that_nobody_can_print_do_not_pass() -> None:
    found = read_entry(changed(title="RUN \x1b[2J\n"), KEY)
    assert found.title == "RUN  [2J "
    manifest = carried(ENTRY)
    layer = msgspec.structs.replace(manifest.layers[0], urls=("http://elsewhere",))
    assert read_entry(msgspec.structs.replace(manifest, layers=(layer,)), KEY).blob == BLOB


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"key": "a" * 63}, "64 hex digits"),
        ({"layer": "A" * 64}, "64 hex digits"),
        ({"position": 1}, "no layer number 1"),
        ({"position": -1}, "no layer number -1"),
        ({"variant": "gzip:6"}, "does not fit the media type"),
        ({"variant": "zstd:3:"}, "does not fit the media type"),
        ({"media_type": media.layer_media_type("oci", "zstd")}, "does not fit the media type"),
        ({"size": 0}, "0 bytes"),
        ({"size": MAX_LAYER_BYTES + 1}, "bytes"),
        ({"created": -1.0}, "times"),
        ({"saved": 1e300}, "times"),
        ({"seconds": float(1 << 36)}, "times"),
        ({"reads": ["x"] * 1001}, "read too much"),
        ({"reads": ["x" * 201]}, "read too much"),
        ({"diff_id": "sha256:0"}, "digest"),
    ],
)
def test_a_line_that_is_not_what_it_should_be_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_entries(changed(**fields))


def test_an_entry_under_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match="it says that it is"):
        read_entry(carried(ENTRY), "b" * 64)
    two = ((ANNOTATION, annotation_of(((0, ENTRY), (0, ENTRY)))),)
    with pytest.raises(ValueError, match="2 entries"):
        read_entry(msgspec.structs.replace(carried(ENTRY), annotations=two), KEY)


def test_names_are_keys() -> None:
    assert is_name(KEY) and is_name(f"mount-{KEY}")
    assert not any(map(is_name, ("", KEY[1:], KEY.upper(), f"mounts-{KEY}", "latest")))


def test_an_entry_stands_for_the_step_that_made_its_layer_only() -> None:
    parts = (("op", "copy"), ("files", "now"))
    first = key_of((("op", "copy"), ("files", "then")))
    own = msgspec.structs.replace(ENTRY, layer=KEY[:32] + "0" * 32, reads=())
    assert belongs(own, parts)
    found = msgspec.structs.replace(ENTRY, layer=first, reads=("then",))
    assert belongs(found, parts)
    for reads in ((), ("other",), ("then", "then")):
        assert not belongs(msgspec.structs.replace(found, reads=reads), parts)
