"""Values of secrets and of build arguments are in no text, no output and no part of a key that is kept."""

import pytest

from firkin.builder.history.redact import Redactor, kept_parts, keyed_hash

KEY = b"k" * 32


def test_secrets_and_arguments_are_replaced() -> None:
    redactor = Redactor([b"s3cr3t-value\n"], (("TOKEN", "hunter2"), ("MODE", "prod"), ("VERSION", "1.25.3-rc1")))
    assert redactor.text("curl -H s3cr3t-value hunter2 prod") == "curl -H *** ${TOKEN} prod"
    assert redactor.data(b"1.25.3-rc1 \xff hunter2") == b"${VERSION} \xff ${TOKEN}"


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("MODE", "prod", True), ("VERSION", "1.25", True), ("TOKEN", "prod", False), ("DB_PASSWORD", "1234", False),
        ("X", "abc", True), ("X", "aB3x", False), ("X", "lowercase", False),
    ],
)  # fmt: skip
def test_short_plain_values_of_harmless_names_stay(name: str, value: str, kept: bool) -> None:
    assert (value in Redactor((), ((name, value),)).text(f"a {value} b")) is kept


def test_a_value_is_found_inside_json_too() -> None:
    redactor = Redactor((), (("TOKEN", 'a"b\\c'),))
    assert redactor.text('["sh","-c","a\\"b\\\\c"]') == '["sh","-c","${TOKEN}"]'


def test_a_secret_of_several_lines_is_hidden_line_by_line() -> None:
    redactor = Redactor([b"-----BEGIN-----\nAAAABBBB\n-----END-----\n"], ())
    assert redactor.text("x AAAABBBB y") == "x *** y"


def test_the_longest_value_is_replaced_first() -> None:
    redactor = Redactor((), (("A", "password"), ("B", "password-long")))
    assert redactor.text("password-long password") == "${B} ${A}"


def test_parts_keep_no_value_but_tell_equal_from_different() -> None:
    redactor = Redactor((), (("TOKEN", "hunter2"),))
    parts = (("op", "run"), ("command", '["echo","hunter2"]'), ("environment", "TOKEN=hunter2"), ("file", "text"),
             ("root", "abc"))  # fmt: skip
    kept = kept_parts(parts, KEY, redactor)
    assert "hunter2" not in str(kept)
    assert kept[0] == ("op", "run") and kept[4] == ("root", "abc")
    assert kept[2][1].startswith("TOKEN=") and kept[3] == ("file", keyed_hash(KEY, "text"))
    assert kept_parts(parts, KEY, redactor) == kept
    other = kept_parts((*parts[:1], ("command", '["echo","hunter3"]'), *parts[2:]), KEY, redactor)
    assert other != kept


def test_the_hash_depends_on_the_stores_key() -> None:
    assert keyed_hash(KEY, "1234") != keyed_hash(b"j" * 32, "1234")
