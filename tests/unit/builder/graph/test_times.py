"""Where an image's times come from when no clock is asked."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.lowering import BUSYBOX, build

from firkin.builder.graph.assemble import assemble_image, rfc3339, seconds_of
from firkin.builder.graph.step import ImagePlan, StepId
from firkin.content.format import LayerFormat
from firkin.content.snapshot import LayerRef
from firkin.oci import media
from firkin.oci.config import History, RuntimeConfig
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, digest_of
from firkin.oci.image import Layer
from firkin.oci.platform import Platform

BASE_S = seconds_of("2020-01-01T00:00:00Z")


def layer(text: bytes) -> Layer:
    return Layer(DiffID(digest_of(text)), Descriptor(media.layer_media_type("oci", "gzip"), digest_of(text), 10))


@given(st.integers(min_value=0, max_value=(1 << 36) - 1))
def test_seconds_and_text_agree(seconds: int) -> None:
    assert seconds_of(rfc3339(seconds)) == seconds


@given(st.datetimes(timezones=st.timezones()))
def test_zones_and_fractions(moment: datetime.datetime) -> None:
    offset = moment.utcoffset()
    if offset is not None and not offset.total_seconds() % 60:
        expected = (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(seconds=1)
        assert seconds_of(moment.isoformat()) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2020-01-01", "2020-01-01T00:00", "T::Z"])
def test_what_is_no_time_is_1970(text: str) -> None:
    assert seconds_of(text) == 0


def test_no_line_is_older_than_the_one_before() -> None:
    base = History(created="2020-01-01T00:00:00Z", created_by="base")
    plan = ImagePlan(
        StepId(0), Platform("linux", "amd64"), RuntimeConfig(),
        (base, History(created_by="COPY old"), History(created_by="RUN"), History(created_by="COPY older")),
        base_s=BASE_S,
    )  # fmt: skip
    layers = tuple(layer(bytes([number])) for number in range(4))
    image = assemble_image(plan, layers, (None, 5.0, BASE_S + 10.0, 7.0), family="oci")
    assert [line.created for line in image.config.history] == [
        "2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z", "2020-01-01T00:00:10Z", "2020-01-01T00:00:10Z",
    ]  # fmt: skip
    assert image.config.created == "2020-01-01T00:00:10Z"


def test_an_image_without_any_time_is_of_1970() -> None:
    plan = ImagePlan(
        StepId(0), Platform("linux", "amd64"), RuntimeConfig(), (History(created_by="ENV", empty_layer=True),)
    )
    assert assemble_image(plan, (), (), family="oci").config.created == "1970-01-01T00:00:00Z"


def test_steps_know_their_base_and_the_epoch() -> None:
    text = "FROM busybox AS a\nWORKDIR /a\nFROM a\nWORKDIR /b\nFROM scratch\nCOPY --from=1 /a /\nCOPY --from=a /a /\n"
    lowered = build(text)
    assert BUSYBOX["history"][0]["created"] == "2020-01-01T00:00:00Z"
    times = {step.meta.title: (step.meta.epoch_s, step.meta.base_s) for step in lowered.graph.needed()}
    assert times["WORKDIR /a"] == times["WORKDIR /b"] == (None, BASE_S)
    assert times["COPY --from=1 /a /"] == (None, 0)
    assert lowered.plan.base_s == 0
    pinned = build(text, source_date_epoch=7)
    assert {step.meta.epoch_s for step in pinned.graph.needed() if step.meta.title.startswith("WORKDIR")} == {7}
    assert pinned.plan.source_date_epoch == 7


def test_an_epoch_of_the_environment_is_a_build_argument() -> None:
    text = "FROM busybox\nARG SOURCE_DATE_EPOCH\nENV E=$SOURCE_DATE_EPOCH\n"
    assert "E=7" in build(text, source_date_epoch=7).runtime.env
    assert "E=8" in build(text, source_date_epoch=7, build_args={"SOURCE_DATE_EPOCH": "8"}).runtime.env


def test_which_layers_are_clamped() -> None:
    everything = LayerFormat(clamp_s=7)
    runs = LayerFormat(clamp_s=7, clamp_all=False)
    copied, written, pulled = LayerRef("a"), LayerRef("b", from_run=True), LayerRef("c", layer(b"x"), "o")
    assert [everything.of(ref).clamp_s for ref in (copied, written, pulled)] == [7, 7, None]
    assert [runs.of(ref).clamp_s for ref in (copied, written, pulled)] == [None, 7, None]
    assert runs.of(copied).variant == LayerFormat().variant
