"""Which kind of image an output wants."""

from __future__ import annotations

from importlib import import_module
from typing import Any, get_args

import pytest

from firkin.builder.graph.step import ImagePlan, StepId
from firkin.builder.output import WRITERS
from firkin.builder.output.kinds import epoch_of, family_of, insists_on_docker, kind_of
from firkin.builder.request import BuildRequest, Output, OutputType
from firkin.oci.config import RuntimeConfig
from firkin.oci.platform import Platform


def request(**fields: Any) -> BuildRequest:
    return BuildRequest("/context", "/store", **fields)


@pytest.mark.parametrize(("output", "media_family", "expected"), [
    (Output(), "", "oci"),
    (Output("docker"), "", "docker"),
    (Output("docker", compression="zstd"), "", "oci"),
    (Output("registry"), "docker", "docker"),
    (Output("registry", media_family="oci"), "docker", "oci"),
    (Output("registry"), "base", "base"),
])  # fmt: skip
def test_media_types(output: Output, media_family: Any, expected: str) -> None:
    assert family_of(request(media_family=media_family), output) == expected


def test_somebody_who_names_dockers_types_gets_no_others() -> None:
    assert insists_on_docker(request(media_family="docker"))
    assert insists_on_docker(request(outputs=(Output(), Output("registry", media_family="docker"))))
    assert not insists_on_docker(request(outputs=(Output("docker"),)))


@pytest.mark.parametrize(("output", "rewrite", "source_date_epoch", "expected"), [
    (Output(), False, None, None),
    (Output(), False, 5, 5),
    (Output(), True, None, 3),
    (Output(rewrite_timestamp=True), False, None, 3),
    (Output(rewrite_timestamp=False), True, None, None),
    (Output(own_epoch=True, epoch_s=7), True, 5, 7),
    (Output(own_epoch=True), False, 5, None),
])  # fmt: skip
def test_the_time_of_what_is_new(
    output: Output, rewrite: bool, source_date_epoch: int | None, expected: int | None
) -> None:
    plan = ImagePlan(
        StepId("step"), Platform("linux", "amd64"), RuntimeConfig(), (), source_date_epoch=source_date_epoch, base_s=3
    )
    asked = request(rewrite_timestamp=rewrite)
    assert epoch_of(asked, output, plan) == expected
    form, _, _ = kind_of(asked, output, plan)
    assert form.clamp_s == expected


def test_every_type_of_output_has_its_file() -> None:
    assert set(WRITERS) == set(get_args(OutputType))
    for module, function in WRITERS.values():
        assert callable(getattr(import_module(f"firkin.builder.output.{module}"), function))
