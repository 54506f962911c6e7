"""SOURCE_DATE_EPOCH as a name: the context, a named context, a stage that downloads one thing."""

from __future__ import annotations

from typing import Any

import pytest
from support.lowering import AMD64, FakeResolver, build

from firkin.builder.dockerfile.epoch import find_epoch_source
from firkin.builder.dockerfile.lower import LowerOptions
from firkin.builder.dockerfile.parse import parse
from firkin.builder.graph.ops import Git, Http, Run
from firkin.errors import FirkinError
from firkin.source import Source

EPOCH = "SOURCE_DATE_EPOCH"
WHOLE = "FROM scratch AS src\n{}\nFROM busybox\nRUN true\n"


def find(text: str, epoch: str | None = None, **options: Any) -> str | Http | Git | None:
    given = dict(options.pop("build_args", {})) | ({} if epoch is None else {EPOCH: epoch})
    settings = LowerOptions(AMD64, AMD64, build_args=tuple(given.items()), **options)
    return find_epoch_source(parse(Source("Dockerfile", text)), settings, FakeResolver())


def test_what_is_no_name() -> None:
    assert find("FROM busybox") is None
    assert find("FROM busybox", "12") is None
    assert find("FROM busybox", "") is None
    assert find(f"ARG {EPOCH}=7\nFROM busybox") is None


def test_contexts() -> None:
    assert find("FROM busybox", "context") == ""
    assert find(f"ARG {EPOCH}=context\nFROM busybox") == ""
    assert find(f"ARG {EPOCH}=context\nFROM busybox", "5") is None  # the argument wins
    assert find("FROM busybox", "code", contexts=("code",)) == "code"
    # a named context takes the place of a stage
    assert find(WHOLE.format("ADD http://h/a /"), "src", contexts=("src",)) == "src"


@pytest.mark.parametrize(("body", "expected"), [
    ("ADD http://h/p/a.tar /", Http("http://h/p/a.tar", "a.tar")),
    ("ADD https://h/r.git#v1:sub /", Git("https://h/r.git", "v1", "sub")),
    ("ADD --keep-git-dir=true https://h/r.git /x", Git("https://h/r.git", keep_git_dir=True)),
    ("ARG V=2\nARG H=h$V\nADD http://$H/a /", Http("http://h2/a", "a")),
    ("ARG V=2\nADD --checksum=sha256:" + "0" * 64 + " http://h/$V /", Http("http://h/2", "2", "sha256:" + "0" * 64)),
])  # fmt: skip
def test_stages(body: str, expected: Http | Git) -> None:
    assert find(WHOLE.format(body), "src") == expected
    assert find(WHOLE.format(body), "SRC") == expected
    assert find(f"ARG {EPOCH}=src\n" + WHOLE.format(body)) == expected


def test_arguments_reach_the_stage_but_for_the_epoch() -> None:
    assert find(WHOLE.format("ARG V=2\nADD http://h/$V /"), "src", build_args={"V": "3"}) == Http("http://h/3", "3")
    # the stage says what the epoch is, so it has none itself
    assert find(WHOLE.format(f"ARG {EPOCH}\nADD http://h/x${EPOCH} /"), "src") != Http("http://h/xsrc", "xsrc")


@pytest.mark.parametrize(("text", "message"), [
    (WHOLE.format("ADD a /"), "must be a single HTTP(S) or Git ADD"),
    (WHOLE.format("COPY a /"), "unsupported copy instruction"),
    (WHOLE.format("ENV A=b\nADD http://h/a /"), "unsupported env instruction"),
    (WHOLE.format(""), "must contain exactly one remote ADD"),
    (WHOLE.format("ADD http://h/a /\nADD http://h/b /"), "must contain exactly one remote ADD"),
    (WHOLE.format("ADD http://h/a http://h/b /"), "exactly one remote ADD source"),
    (WHOLE.format("ADD <<E /x\nE"), "exactly one remote ADD source"),
    ("FROM busybox AS src\nADD http://h/a /\nFROM busybox", "must use FROM scratch"),
    ("FROM scratch AS other\nFROM busybox", "invalid SOURCE_DATE_EPOCH: src"),
])  # fmt: skip
def test_what_has_no_time(text: str, message: str) -> None:
    with pytest.raises(FirkinError) as caught:
        find(text, "src")
    assert message in caught.value.message
    assert caught.value.hints


def test_the_time_takes_the_place_of_the_name() -> None:
    text = f"ARG {EPOCH}\nFROM busybox\nARG {EPOCH}\nENV E=${EPOCH}\nRUN true"
    for options in ({"build_args": {EPOCH: "context"}}, {}):
        source = text if options else text.replace(f"ARG {EPOCH}\nFROM", f"ARG {EPOCH}=context\nFROM")
        dated = build(source, named_epoch=12, **options)
        assert dated.plan.source_date_epoch == 12
        assert "E=12" in dated.runtime.env
        # what has no time leaves the argument unset
        plain = build(source, **options)
        assert plain.plan.source_date_epoch is None
        assert "E=" in plain.runtime.env
        assert not any(item.startswith(EPOCH) for item in plain.only(Run).env)
