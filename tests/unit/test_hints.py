"""Hints: each front has words for every kind, and the others never see them."""

import re
from typing import get_args

import msgspec
import pytest

from firkin.api.hints import API
from firkin.cli.hints import COMMAND_LINE
from firkin.cli.kaniko.hints import EXECUTOR
from firkin.errors import UsageError
from firkin.events import Finished, Log, Warned, decode_event, encode_event, in_words
from firkin.hints import Hint, Kind, Texts, hint_text
from firkin.worker.messages import decode_line, error_of, failure_of

KINDS = get_args(Kind)
FRONTS = {"command line": COMMAND_LINE, "executor": EXECUTOR, "API": API}


def names_in(text: str) -> set[str]:
    """Return the values that a text takes."""
    return set(re.findall(r"{(\w+)}", text.replace("{{", "").replace("}}", "")))


@pytest.mark.parametrize("front", FRONTS)
def test_every_kind_has_a_text(front: str) -> None:
    assert list(FRONTS[front]) == list(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_texts_of_a_kind_take_the_same_values(kind: Kind) -> None:
    wanted = names_in(COMMAND_LINE[kind])
    assert [front for front, texts in FRONTS.items() if not names_in(texts[kind]) <= wanted] == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_api_names_no_option(kind: Kind) -> None:
    text = API[kind].replace("mount --bind", "")  # of another program
    assert not re.search(r"(?<![\w-])--?[a-z]", text)
    assert all(before.endswith("the command `") for before in text.split("firkin ")[:-1] if before.endswith("`"))


@pytest.mark.parametrize(
    ("kind", "values", "text"),
    [
        ("secret", {"id": "key"}, 'pass it with `secrets={"key": ...}`'),
        ("build-arg", {"name": "X"}, 'give `X` a value: `ARG X=...` before the first FROM, or `build_args={"X": ...}`'),
        ("no-cache", {}, "build again with `no_cache=True`"),
        ("isolation-inplace", {"path": "/t"}, '`isolation="inplace"` runs them where they can read `/t`'),
        ("store-other", {}, "use another place with `root=DIR`, or remove that one"),
        ("images", {}, "`firkin.list_images()` returns what is in the store"),
        ("tls-ca-spoken", {"host": "r:1"},
         'it seems to speak TLS: `ca_files=(("r:1", FILE),)` in the RegistrySettings of `registry` names its CA'),
    ],
)  # fmt: skip
def test_words_of_the_api(kind: Kind, values: dict[str, str], text: str) -> None:
    assert hint_text(Hint.of(kind, **values), API) == text


def test_a_value_is_no_template_and_hides_what_texts_hide() -> None:
    assert hint_text(Hint.of("secret", id="{id}{0}"), API) == 'pass it with `secrets={"{id}{0}": ...}`'
    assert Hint.of("login", host="https://me:pw@r").values == (("host", "https://xxxxx@r"),)
    assert Hint.of("store-own", user="caf\udce9").values == (("user", "caf\ufffd"),)


@pytest.mark.parametrize(
    ("texts", "hint", "message"),
    [
        (COMMAND_LINE, "pass it with `--secret id=a,src=FILE` or `--secret id=a,env=NAME`", "--ssh b: cannot read c"),
        (EXECUTOR, "pass it with `--secret id=a,src=FILE` or `--secret id=a,env=NAME`", "--ssh b: cannot read c"),
        (API, 'pass it with `secrets={"a": ...}`', "`ssh`, agent `b`: cannot read c"),
    ],
)
def test_an_error_reaches_each_front_as_a_value(texts: Texts, hint: str, message: str) -> None:
    sent = UsageError("cannot read c", hints=("plain", Hint.of("secret", id="a")), option=Hint.of("option-ssh", id="b"))
    line = decode_line(msgspec.json.encode(failure_of(sent)))
    assert not isinstance(line, Log) and hasattr(line, "kind")
    got = error_of(line)
    assert (got.hints, got.option) == (sent.hints, sent.option)
    for _ in range(2):  # the second time nothing is left to be put into words
        got.put(texts)
        assert (got.message, got.hints, str(got)) == (message, ("plain", hint), message)


def test_events_reach_people_as_texts() -> None:
    sent = Warned(1.0, "c", "a token can be read", hints=(Hint.of("prune"),), remedy=Hint.of("host-more-ids"))
    got = in_words(decode_event(encode_event(sent)), COMMAND_LINE)
    told = "a token can be read; `firkin info` says how to get more ids"
    assert got == Warned(1.0, "c", told, hints=("`firkin prune` tells more",))
    assert "remedy" not in encode_event(got).decode()
    failed = Finished(1.0, "a", "failed", "no key", Hint.of("option-ssh", id="x"))
    assert in_words(decode_event(encode_event(failed)), API) == Finished(1.0, "a", "failed", "`ssh`, agent `x`: no key")
    plain = Finished(1.0, "a", "done")
    assert in_words(plain, API) is plain
    assert encode_event(plain) == b'{"event":"finished","time":1.0,"id":"a","status":"done","detail":""}'
