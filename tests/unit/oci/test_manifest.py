"""An index that is written again has every key that it had."""

from __future__ import annotations

import json

from firkin.images.platforms import part_of
from firkin.oci import media
from firkin.oci.manifest import Index, encode_index, parse_manifest

FEATURES = ["win32k", "another"]


def index_document() -> dict[str, object]:
    entries = [
        {
            "mediaType": media.OCI_MANIFEST, "digest": "sha256:" + digit * 64, "size": 5, "annotations": {"a": digit},
            "platform": {"architecture": "amd64", "os": "windows", "os.version": "10.0", "os.features": FEATURES},
            "artifactType": "application/x.kind",
        }
        for digit in "12"
    ]  # fmt: skip
    subject = {"mediaType": media.OCI_MANIFEST, "digest": "sha256:" + "3" * 64, "size": 7}
    return {
        "schemaVersion": 2, "mediaType": media.OCI_INDEX, "artifactType": "application/x.test", "manifests": entries,
        "subject": subject, "annotations": {"x": "y"},
    }  # fmt: skip


def test_nothing_is_lost_when_an_index_is_written_again() -> None:
    document = index_document()
    index = parse_manifest(json.dumps(document).encode())
    assert isinstance(index, Index)
    assert json.loads(encode_index(index).raw) == document
    less = json.loads(part_of(index, index.manifests[1:]).raw)
    assert less == {**document, "manifests": [index_document()["manifests"][1]]}  # type: ignore[index]


def test_keys_in_another_case_are_kept_as_well() -> None:
    """Go reads them so; what is written has the spelling of the spec."""
    text = json.dumps(index_document()).replace("os.features", "OS.Features").replace("artifactType", "ARTIFACTTYPE")
    index = parse_manifest(text.encode())
    assert isinstance(index, Index)
    assert json.loads(encode_index(index).raw) == index_document()
