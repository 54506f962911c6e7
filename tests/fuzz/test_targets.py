"""The fuzz targets hold for their seeds; fuzz_dockerfile.py goes on from there."""

import pytest

from fuzz import fuzz_dockerfile, targets


@pytest.mark.parametrize("kind", range(len(targets.TARGETS)))
def test_targets_take_every_dockerfile_of_the_corpus(kind: int) -> None:
    for place in fuzz_dockerfile.CASES.glob("*/Dockerfile"):
        targets.run(bytes([kind]) + place.read_bytes())


def test_targets_take_bytes_that_are_no_text() -> None:
    for kind in range(len(targets.TARGETS)):
        targets.run(bytes([kind]) + bytes(range(256)))
    targets.run(b"")
