"""--chmod's grammar and arithmetic."""

from __future__ import annotations

import pytest

from firkin.solve.copy_chmod import parse_chmod


@pytest.mark.parametrize(
    ("text", "mode", "is_dir", "expected"),
    [
        ("0755", 0o600, False, 0o755),
        ("4711", 0o600, False, 0o4711),
        ("7", 0o600, False, 0o007),
        ("u+x", 0o644, False, 0o744),
        ("+x", 0o644, False, 0o755),
        ("+w", 0o444, False, 0o644),
        ("a+w", 0o444, False, 0o666),
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


@pytest.mark.parametrize("text", ["0698", "17777", "9", "", "u", "u+z", "x", "rwx", "u+x,", "8", "0x1", "u+x=!"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid chmod parameter"):
        parse_chmod(text)
