"""Names as somebody types them."""

from __future__ import annotations

import pytest

from firkin.errors import UsageError
from firkin.images.names import familiar, read_reference, read_tag, repository_and_tag

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize("text", [DIGEST, DIGEST[7:], "sha256:abc"])
def test_a_digest_is_no_name(text: str) -> None:
    with pytest.raises(UsageError, match="is a digest, not a name"):
        read_reference(text)


def test_what_cannot_be_a_name_is_refused() -> None:
    with pytest.raises(UsageError):
        read_reference("Upper")
    with pytest.raises(UsageError, match="refusing to create a tag with a digest reference"):
        read_tag(f"app@{DIGEST}")
    assert str(read_reference(f"app@{DIGEST}")) == f"docker.io/library/app@{DIGEST}"
    assert str(read_tag("app")) == "docker.io/library/app:latest"


@pytest.mark.parametrize(("name", "short", "parts"), [
    ("docker.io/library/app:1", "app:1", ("app", "1")),
    ("docker.io/team/app:latest", "team/app:latest", ("team/app", "latest")),
    ("localhost:5000/app:1", "localhost:5000/app:1", ("localhost:5000/app", "1")),
    (f"docker.io/library/app@{DIGEST}", f"app@{DIGEST}", ("app", "<none>")),
    ("", "", ("<none>", "<none>")),
    ("Not A Name", "Not A Name", ("Not A Name", "")),
])  # fmt: skip
def test_names_are_shown_in_their_short_spelling(name: str, short: str, parts: tuple[str, str]) -> None:
    assert (familiar(name), repository_and_tag(name)) == (short, parts)
