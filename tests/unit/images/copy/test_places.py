"""What a word of the user names."""

import pytest

from firkin.errors import UsageError
from firkin.images.copy.places import Place, parse_place


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("app", Place("docker", name="app")),
        ("localhost:5000/app:1", Place("docker", name="localhost:5000/app:1")),
        ("docker://oci:1", Place("docker", name="oci:1")),
        ("oci:dir", Place("oci", "dir")),
        ("oci:dir:reg.example:5000/app:1", Place("oci", "dir", "reg.example:5000/app:1")),
        ("oci:dir:@2", Place("oci", "dir", number=2)),
        ("oci-archive:/a/b.tar:1", Place("oci-archive", "/a/b.tar", "1")),
        ("docker-archive:a.tar:app:1", Place("docker-archive", "a.tar", "app:1")),
        ("docker-archive:a.tar:@0", Place("docker-archive", "a.tar", number=0)),
        ("dir:a:b", Place("dir", "a:b")),
        ("store:app:1", Place("store", name="app:1")),
    ],
)
def test_a_word_names_a_place(text: str, place: Place) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("docker:app", "write `docker://NAME`"),
        ("docker-daemon:app", "there is no daemon"),
        ("containers-storage:app", "podman"),
        ("oci:", "names nothing"),
        ("oci::1", "has no path"),
        ("oci:dir:@x", "is not the number of an image"),
        ("docker-archive:a.tar:APP", "must be lowercase"),
        ("docker://APP", "must be lowercase"),
        ("sha256:" + "0" * 64, "is a digest, not a name"),
        ("ftp:x/y/Z", "invalid reference format"),
    ],
)
def test_other_words_are_refused(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse_place(text)


def test_a_place_is_written_as_it_was_read() -> None:
    for text in ("app:1", "oci:dir:@2", "oci:dir:app:1", "docker-archive:a.tar", "dir:x", "store:app"):
        assert str(parse_place(text)) == text
