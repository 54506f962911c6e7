"""An ordinary user without subordinate ids: owners that no file can have, and what helps commands along."""

import os
import tarfile
from pathlib import Path

import pytest
from support.accounts import Firkin, make_firkin
from support.image import build_image
from support.registry import Registry

pytestmark = [pytest.mark.registry, pytest.mark.root, pytest.mark.userns]

DOCKERFILE = """\
FROM busybox
RUN mkdir -p /etc/apt/apt.conf.d && echo own >/etc/apt/apt.conf.d/own
RUN chmod -R 700 /etc/apt && cat /etc/apt/apt.conf.d/*
RUN rm /etc/apt/apt.conf.d/*
COPY --chown=7:8 file /file
USER 1000:1001
RUN --mount=type=cache,target=/cache,uid=1000,gid=1001,mode=0700 touch /cache/x /tmp/mine
"""


@pytest.fixture
def firkin(scratch: Path, registry: Registry) -> Firkin:
    os.umask(0o022)
    return make_firkin("plain", scratch / "plain", registry.url)


@pytest.fixture
def context(firkin: Firkin) -> Path:
    place = firkin.directory("context")
    (place / "Dockerfile").write_text(DOCKERFILE)
    (place / "file").write_text("text")
    return place


def test_owners_are_in_layers_and_tars(firkin: Firkin, context: Path) -> None:
    image = build_image(firkin, context)
    tar = firkin.place / "out.tar"
    firkin.run("build", "-o", f"type=tar,dest={tar}", context)
    with tarfile.open(tar) as archive:
        for member in (image.member("file"), archive.getmember("file")):
            assert (member.uid, member.gid) == (7, 8)
        for member in (image.member("tmp/mine"), archive.getmember("tmp/mine")):
            assert (member.uid, member.gid) == (1000, 1001)


def test_what_apt_is_shown_is_in_no_layer(firkin: Firkin, context: Path) -> None:
    image = build_image(firkin, context)
    names = {name for layer in image.layers for name in layer.members if "apt.conf.d/" in name}
    assert names == {"etc/apt/apt.conf.d/own", "etc/apt/apt.conf.d/.wh.own"}
