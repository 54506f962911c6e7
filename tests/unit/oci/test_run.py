"""What a run is made of: USER, as BuildKit reads it, and secrets."""

import pytest

from firkin.oci.run import FileMount, ResolvedUser, UserError, resolve_user

PASSWD = (
    b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:App:/home/app:/bin/sh\n42:x:7:7::/seven:\nbroken:x:one:1::/:\n"
)
GROUP = b"root:x:0:\napp:x:1000:\nwheel:x:10:root,app\nvideo:x:44:app\nstaff:x:50:\nbad\n"


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", ResolvedUser(0, 0, (0, 10), "/root")),
        ("root", ResolvedUser(0, 0, (0, 10), "/root")),
        ("app", ResolvedUser(1000, 1000, (1000, 10, 44), "/home/app")),
        ("1000", ResolvedUser(1000, 1000, (1000, 10, 44), "/home/app")),
        ("app:staff", ResolvedUser(1000, 50, (50,), "/home/app")),
        ("app:99", ResolvedUser(1000, 99, (99,), "/home/app")),
        ("77:88", ResolvedUser(77, 88, (88,), "/")),
        ("77", ResolvedUser(77, 0, (0,), "/")),
        ("42", ResolvedUser(42, 0, (0,), "/")),
    ],
)
def test_resolves(text: str, user: ResolvedUser) -> None:
    assert resolve_user(text, PASSWD, GROUP) == user


def test_an_image_without_files_has_root() -> None:
    assert resolve_user("", b"", b"") == ResolvedUser(0, 0, (0,), "/root")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nobody", "user-unknown"),
        ("app:nobody", "group-unknown"),
        ("4294967295", "user-range"),
        ("0:2147483648", "group-range"),
        ("broken", "user-unknown"),
    ],
)
def test_refuses(text: str, code: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve_user(text, PASSWD, GROUP)
    assert caught.value.code == code


def test_secrets_do_not_show() -> None:
    assert "hidden" not in repr(FileMount("/run/secrets/x", b"hidden"))
