"""--chmod's grammar and arithmetic."""

from __future__ import annotations

import pytest

from firkin.builder.copy.chmod import parse_chmod
from firkin.builder.dockerfile.instructions.transfer import check_chmod
from firkin.errors import DockerfileError
from firkin.source import Source


@pytest.mark.parametrize(
    ("text", "mode", "is_dir", "expected"),
    [
        ("0755", 0o600, False, 0o755),
        ("4711", 0o600, False, 0o4711),
        ("7", 0o600, False, 0o007),
        ("u+x", 0o644, False, 0o744),
        ("+x", 0o644, False, 0o755),
        ("a+w", 0o444, False, 0o666),
        # no class: every class, whatever the umask
        ("+w", 0o444, False, 0o666),
        ("+w", 0o555, True, 0o777),
        ("-w", 0o777, False, 0o555),
        ("=rw", 0o755, False, 0o666),
        ("=rw", 0o6755, False, 0o666),
        ("=r", 0o1755, True, 0o1444),  # the sticky bit is nobody's
        ("=", 0o777, False, 0o000),
        ("+", 0o421, False, 0o421),
        ("-", 0o421, False, 0o421),
        ("=rw,+X", 0o766, False, 0o777),
        ("=rw,+X", 0o666, False, 0o666),
        ("=u", 0o741, False, 0o777),
        ("-u", 0o111, False, 0o000),
        ("+o", 0o004, False, 0o444),
        # X counts with every operator; what the mode was at first decides
        ("u=rwX,go=rX", 0o750, True, 0o755),
        ("u=rwX,go=rX", 0o640, False, 0o644),
        ("u=rwX,go=rX", 0o711, False, 0o755),
        ("u=rwX,go=rX", 0o001, False, 0o755),
        ("a=rX,u+w", 0o600, True, 0o755),
        ("a=rX,u+w", 0o711, False, 0o755),
        ("u=X", 0o700, False, 0o100),
        ("u=X", 0o600, False, 0o000),
        ("=X", 0o001, False, 0o111),
        ("a=X", 0o4000, True, 0o111),
        ("a-x,a+X", 0o755, False, 0o755),
        ("a-x,u=X", 0o755, False, 0o144),
        ("u+x,g+X", 0o600, False, 0o700),
        ("a-X", 0o711, False, 0o600),
        ("a-X", 0o755, True, 0o644),
        ("go-X", 0o755, False, 0o744),
        ("-X", 0o777, False, 0o666),
        ("+X", 0o010, False, 0o111),
        ("+X-x", 0o755, False, 0o644),
        ("u=rX-w+X", 0o700, False, 0o500),
        # copies between classes, alone, with letters and after each other
        ("u=g", 0o742, False, 0o442),
        ("u=g-w", 0o772, False, 0o572),
        ("g=o", 0o604, False, 0o644),
        ("go=u-w", 0o770, False, 0o755),
        ("go=u-w", 0o370, False, 0o311),
        ("u+o", 0o021, False, 0o121),
        ("u+go", 0o021, False, 0o321),
        ("u-g", 0o750, False, 0o250),
        ("g=ru", 0o740, False, 0o770),  # `=u` clears the r before it
        ("g=ur", 0o740, False, 0o740),  # and r, after it, clears the copy
        ("a=r,ug=rw,u+x", 0o777, False, 0o764),
        ("u=rwx,go=u-w", 0o000, False, 0o755),
        ("go=Xu", 0o755, False, 0o777),
        ("u=r+w", 0o777, False, 0o677),
        ("u=r=w", 0o777, False, 0o277),
        ("ug+r+w-x", 0o111, False, 0o661),
        # special bits
        ("ug+s", 0o755, False, 0o6755),
        ("+s", 0o000, False, 0o6000),
        ("-s", 0o6777, False, 0o777),
        ("a+s", 0o755, False, 0o6755),
        ("o+s", 0o755, False, 0o755),
        ("o+t", 0o755, True, 0o755),
        ("u+t", 0o755, True, 0o1755),
        ("-t", 0o1421, True, 0o421),
        ("a-t", 0o1777, True, 0o777),
        ("a=t", 0o777, True, 0o1000),
        ("u=s", 0o700, False, 0o4000),
        ("u=rwx", 0o4755, False, 0o755),
        ("g=rx", 0o2755, True, 0o755),
        ("o=", 0o7777, False, 0o7770),
        ("ugo=rwx", 0o7000, True, 0o1777),
        ("o+r,g+w,a+t,g-s,u+og", 0o6000, True, 0o5624),
        ("0", 0o777, False, 0o000),
        ("00000755", 0o600, True, 0o755),
        ("go-rwx", 0o755, False, 0o700),
        ("u=rwx,go=rX", 0o644, False, 0o744),
        ("go+X", 0o700, False, 0o711),
        ("go+X", 0o600, False, 0o600),
        ("go+X", 0o700, True, 0o711),
        ("a=r", 0o4755, False, 0o444),
        ("g=u", 0o640, False, 0o660),
        ("g=u-w", 0o640, False, 0o640),
        ("o=g", 0o751, False, 0o755),
        ("u+s", 0o755, False, 0o4755),
        ("g+s", 0o755, True, 0o2755),
        ("+t", 0o755, True, 0o1755),
        ("go=", 0o755, False, 0o700),
        ("u+r-w+x", 0o200, False, 0o500),
    ],
)
def test_modes(text: str, mode: int, is_dir: bool, expected: int) -> None:
    assert oct(parse_chmod(text).apply(mode, is_dir)) == oct(expected)


@pytest.mark.parametrize(
    "text",
    [
        "0698",
        "17777",
        "9",
        "",
        "u",
        "u+z",
        "x",
        "rwx",
        "u+x,",
        "8",
        "0x1",
        "u+x=!",
        ",",
        ",u+x",
        "u+x,,g+x",
        "u=6",
        "0644,u+x",
        "u+x,0644",
        "+0644",
        "-0644",
        "0o755",
        "07_55",
        " 755",
        "u +x",
        "ua",
        "U+x",
        "a=R",
    ],
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid chmod parameter"):
        parse_chmod(text)
    if text:  # a flag without a value is none
        with pytest.raises(DockerfileError, match="invalid chmod parameter"):
            check_chmod(text, Source("Dockerfile", "x").span(1))
