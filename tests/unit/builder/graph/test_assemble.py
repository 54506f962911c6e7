"""Histories get their times as BuildKit gives them; keys tell every part apart."""

from __future__ import annotations

import datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firkin.builder.graph.assemble import assemble_image, rfc3339
from firkin.builder.graph.key import key_of, op_parts
from firkin.builder.graph.ops import Copy, PathSource, Run
from firkin.builder.graph.step import ImagePlan, StepId
from firkin.oci import media
from firkin.oci.config import History, RuntimeConfig, parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, digest_of
from firkin.oci.image import Layer
from firkin.oci.platform import Platform

LINUX = Platform("linux", "amd64")


def layer(text: bytes) -> Layer:
    descriptor = Descriptor(media.layer_media_type("oci", "gzip"), digest_of(text + b"z"), 10)
    return Layer(DiffID(digest_of(text)), descriptor)


@given(st.integers(min_value=0, max_value=4_000_000_000_000_000))
def test_times_agree_with_the_standard_library(microseconds):
    expected = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=microseconds)
    text = rfc3339(microseconds / 1_000_000)
    read = datetime.datetime.fromisoformat(text.removesuffix("Z")[:26])
    assert abs((read - expected).total_seconds()) < 2e-6


def plan(*history: History) -> ImagePlan:
    return ImagePlan(StepId(0), LINUX, RuntimeConfig(env=("A=b",)), history)


def test_new_lines_take_the_time_of_their_step_and_metadata_that_of_the_line_before():
    old = History(created="2020-01-01T00:00:00Z", created_by="base")
    image = assemble_image(
        plan(
            old,
            History(created_by="ENV", empty_layer=True),
            History(created_by="RUN"),
            History(created_by="CMD", empty_layer=True),
        ),
        (layer(b"1"), layer(b"2")),
        (None, 100.0),
        family="oci",
    )
    created = [line.created for line in image.config.history]
    assert created == [old.created, "1970-01-01T00:01:40Z", "1970-01-01T00:01:40Z", "1970-01-01T00:01:40Z"]
    assert image.config.created == "1970-01-01T00:01:40Z"


def test_epoch_decides_all_new_times():
    image = assemble_image(
        plan(History(created="2020-01-01T00:00:00Z", created_by="base"), History(created_by="RUN")),
        (layer(b"1"), layer(b"2")),
        (None, 100.0),
        family="oci",
        epoch_s=7,
    )
    assert [line.created for line in image.config.history] == ["2020-01-01T00:00:00Z", "1970-01-01T00:00:07Z"]
    assert image.config.created == "1970-01-01T00:00:07Z"


def test_configuration_reads_back_and_is_deterministic():
    made = [assemble_image(plan(History(created_by="RUN")), (layer(b"1"),), (1.5,), family="oci") for _ in range(2)]
    assert made[0].manifest.raw == made[1].manifest.raw
    assert msgspec.structs.replace(parse_config(made[0].config.raw), raw=b"") == msgspec.structs.replace(
        made[0].config, raw=b""
    )


def test_history_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="history"):
        assemble_image(plan(History(created_by="RUN")), (), (), family="oci")


def test_docker_family_is_not_mixed():
    image = assemble_image(plan(History(created_by="RUN")), (layer(b"1"),), (1.0,), family="docker")
    assert image.manifest.media_type == media.DOCKER_MANIFEST
    assert image.manifest.layers[0].media_type == media.layer_media_type("docker", "gzip")


RUN = Run(argv=("/bin/sh", "-c", "true"), env=("A=1",))


@pytest.mark.parametrize(
    "change",
    [
        {"argv": ("/bin/sh", "-c", "false")},
        {"argv": ("/bin/sh", "-c true")},
        {"env": ("A=2",)},
        {"env": ("A=1", "B=")},
        {"cwd": "/x"},
        {"user": "app"},
        {"network": "none"},
        {"insecure": True},
        {"files": (("/f", "text", 0o755),)},
    ],
)
def test_every_part_of_a_run_counts(change):
    other = msgspec.structs.replace(RUN, **change)
    assert key_of(op_parts(RUN, LINUX)) != key_of(op_parts(other, LINUX))


def test_proxies_do_not_count():
    other = msgspec.structs.replace(RUN, proxy_env=("http_proxy=x",))
    assert key_of(op_parts(RUN, LINUX)) == key_of(op_parts(other, LINUX))


def test_parts_are_framed():
    assert key_of((("a", "bc"),)) != key_of((("ab", "c"),))
    assert key_of((("a", "b"), ("c", "d"))) != key_of((("a", "b\0c\0d"),))


def test_link_copies_have_keys_of_their_own():
    copy = Copy((PathSource(1, "/a"),), "/b")
    assert key_of(op_parts(copy, LINUX)) != key_of(op_parts(msgspec.structs.replace(copy, link=True), LINUX))
