"""What requests say of mounts, and what becomes of it: docker's grammar, its errors, and who wins at one place."""

from pathlib import Path

import pytest
from support.boxes import keep_box, make, open_box, unpack

from firkin.containers.documents.config import (
    BindOptions,
    DriverConfig,
    HostConfig,
    ImageOptions,
    Mount,
    TmpfsOptions,
    VolumeOptions,
)
from firkin.containers.documents.mount_words import mode_words, parse_bind
from firkin.containers.documents.record import MountPoint
from firkin.containers.home.engine import Engine
from firkin.containers.volumes.make import make_volume
from firkin.errors import ContainerError


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_box(tmp_path, Volumes={"/data": {}, "cache": {}})


def mounts(engine: Engine, **fields: object) -> dict[str, MountPoint]:
    return {point.destination: point for point in engine.home.record(make(engine, **fields)).mounts}  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "source", "target", "mode"), [
    ("/a", "", "/a", ""),
    ("/h:/a", "/h", "/a", ""),
    ("/h/../i//:/a/", "/i", "/a", ""),
    ("data:/a:ro", "data", "/a", "ro"),
    ("/h:/a:ro,Z,rslave,consistent", "/h", "/a", "ro,Z,rslave,consistent"),
    ("data:/a:nocopy", "data", "/a", "nocopy"),
])  # fmt: skip
def test_binds(text: str, source: str, target: str, mode: str) -> None:
    bind = parse_bind(text)
    assert (bind.source, bind.target, bind.mode) == (source, target, mode)


@pytest.mark.parametrize(("text", "said"), [
    ("", "invalid volume specification: ''"),
    ("/h:", "invalid volume specification: '/h:'"),
    (":/a", "invalid volume specification"),
    ("/a:ro", "invalid volume specification: '/a:ro'"),
    ("/h:/a:ro:x", "invalid volume specification"),
    ("/h:/a:rw,ro", "invalid mode: rw,ro"),
    ("/h:/a:what", "invalid mode: what"),
    ("/h:/a:nocopy", "invalid mode: nocopy"),
    ("data:/a:rslave", "invalid mode: rslave"),
    ("/h:a", "mount path must be absolute"),
    ("/h:/", "destination can't be '/'"),
    ("/h:/a/..", "destination can't be '/'"),
])  # fmt: skip
def test_wrong_binds(text: str, said: str) -> None:
    with pytest.raises(ContainerError) as caught:
        parse_bind(text)
    assert said in caught.value.message and caught.value.kind == "invalid"


def test_each_group_of_a_mode_counts_once() -> None:
    assert mode_words("ro,z,shared,copy,delegated") == {"ro", "z", "shared", "copy", "delegated"}
    assert mode_words("z,Z") is mode_words("private,rprivate") is mode_words("ro,") is None


def test_binds_and_volumes_as_inspect_has_them(engine: Engine, tmp_path: Path) -> None:
    found = mounts(engine, binds=(f"{tmp_path}:/h:ro", "/not/there:/new", "named:/n", "named:/m:ro"))
    assert found["/h"] == MountPoint(
        "bind", "/h", source=str(tmp_path), mode="ro", rw=False, propagation="rprivate", create_source=True, asked="bind"
    )
    assert found["/new"].create_source
    assert found["/n"] == MountPoint(
        "volume", "/n", name="named", source=f"{engine.root}/volumes/named/data", driver="local", mode="z", asked="bind"
    )
    assert (found["/m"].rw, found["/m"].mode) == (False, "ro")
    assert found["/data"].anonymous and found["/data"].mode == "" and len(found["/data"].name) == 64
    assert "/cache" in found  # a path of the image is one of the root


def test_no_anonymous_volume_where_the_user_mounts_something(engine: Engine) -> None:
    for fields in ({"binds": ("named:/data",)}, {"tmpfs": {"/data/": "size=1m"}}):
        found = mounts(engine, **fields)
        assert not found["/data"].anonymous and found["/cache"].anonymous


def test_a_volume_with_a_colon_is_a_path(engine: Engine) -> None:
    assert "/x:/y" in mounts(engine, volumes={"/x:/y": {}})


@pytest.mark.parametrize("fields", [
    {"binds": ("one:/a", "two:/a/")},
    {"binds": ("one:/a",), "mounts": (Mount("volume", "two", "/a"),)},
    {"mounts": (Mount("tmpfs", target="/a"),), "tmpfs": {"/a": ""}},
])  # fmt: skip
def test_two_mounts_at_one_place_are_refused(engine: Engine, fields: dict[str, object]) -> None:
    with pytest.raises(ContainerError, match="Duplicate mount point: /a") as caught:
        make(engine, **fields)  # type: ignore[arg-type]
    assert caught.value.kind == "invalid"
    assert engine.home.ids() == []


@pytest.mark.parametrize(("mount", "said"), [
    (Mount("nfs", "a", "/a"), "mount type unknown"),
    (Mount("volume", "a"), "field Target must not be empty"),
    (Mount("volume", "a", "a"), "mount path must be absolute"),
    (Mount("volume", "a", "/."), "destination can't be '/'"),
    (Mount("bind", target="/a"), "field Source must not be empty"),
    (Mount("bind", "a", "/a"), "mount path must be absolute"),
    (Mount("bind", "/not/there", "/a"), "bind source path does not exist: /not/there"),
    (Mount("bind", "/", "/a", volume_options=VolumeOptions()), "field VolumeOptions must not be specified"),
    (Mount("bind", "/", "/a", bind_options=BindOptions("far")), "invalid propagation mode: far"),
    (Mount("bind", "/", "/a", bind_options=BindOptions(read_only_non_recursive=True)), "need ReadOnly"),
    (Mount("volume", target="/a", read_only=True), "must not set ReadOnly mode when using anonymous volumes"),
    (Mount("volume", "aa", "/a", volume_options=VolumeOptions(subpath="../x")), "subpath must be a relative path"),
    (Mount("volume", "aa", "/a", volume_options=VolumeOptions(driver_config=DriverConfig("nfs"))), "plugin nfs"),
    (Mount("volume", "a", "/a"), "includes invalid characters"),
    (Mount("tmpfs", "a", "/a"), "field Source must not be specified"),
    (Mount("image", target="/a"), "field Source must not be empty"),
    (Mount("image", "nothing:1", "/a"), "No such image: nothing:1"),
])  # fmt: skip
def test_wrong_mounts(engine: Engine, mount: Mount, said: str) -> None:
    with pytest.raises(ContainerError) as caught:
        make(engine, mounts=(mount,))
    assert said in caught.value.message
    assert caught.value.kind == "invalid", "clients pull the image and try again when something is missing"


def test_mounts(engine: Engine, tmp_path: Path) -> None:
    keep = keep_box(engine.root, name="tools:1")
    unpack(engine.root, keep)
    found = mounts(engine, mounts=(
        Mount("bind", "/not/there", "/b", bind_options=BindOptions(propagation="rslave", create_mountpoint=True)),
        Mount("volume", "named", "/v", volume_options=VolumeOptions(labels={"tier": "gold"}, subpath="sub")),
        Mount("tmpfs", target="/t", tmpfs_options=TmpfsOptions(size_bytes=4096, mode=0o700, options=(("exec",),))),
        Mount("image", "tools:1", "/i", image_options=ImageOptions("bin")),
        Mount("bind", str(tmp_path), "/r", read_only=True, bind_options=BindOptions(non_recursive=True)),
    ))  # fmt: skip
    assert (found["/b"].propagation, found["/b"].create_source, found["/b"].mode) == ("rslave", True, "")
    assert (found["/v"].mode, found["/v"].subpath, found["/v"].anonymous) == ("z", "sub", False)
    assert found["/t"].options == ("size=4096", "mode=700", "exec")
    assert (found["/i"].rw, found["/i"].subpath, len(found["/i"].trees)) == (False, "bin", 1)
    assert (found["/r"].rw, found["/r"].recursive) == (False, False)


def test_shallow_places_come_first(engine: Engine) -> None:
    id = make(engine, binds=("named:/a/b/c", "named:/a", "named:/a/b"))
    assert [point.destination for point in engine.home.record(id).mounts][:4] == ["/a", "/cache", "/data", "/a/b"]


def test_volumes_from_another_container(engine: Engine, tmp_path: Path) -> None:
    first = make(engine, "first", binds=("named:/n", f"{tmp_path}:/h"), tmpfs={"/t": ""})
    found = mounts(engine, volumes_from=("first:ro",), binds=("other:/n",))
    theirs = {point.destination: point for point in engine.home.record(first).mounts}
    assert found["/h"].source == str(tmp_path) and not found["/h"].rw
    assert found["/n"].name == "other" and found["/n"].rw, "what was asked for itself wins"
    assert found["/data"].name == theirs["/data"].name and not found["/data"].anonymous
    assert "/t" not in found
    with pytest.raises(ContainerError, match="No such container: nobody") as caught:
        make(engine, volumes_from=("nobody",))
    assert caught.value.kind == "invalid"
    with pytest.raises(ContainerError, match="invalid mode: nocopy"):
        make(engine, volumes_from=("first:nocopy",))


def test_no_other_drivers(engine: Engine) -> None:
    with pytest.raises(ContainerError, match='plugin "nfs" not found'):
        make(engine, volume_driver="nfs")
    assert HostConfig().volume_driver == ""


def test_volumes_that_show_something_else(engine: Engine, tmp_path: Path) -> None:
    make_volume(engine, "there", options={"type": "none", "o": "bind,ro", "device": str(tmp_path)})
    make_volume(engine, "memory", options={"type": "tmpfs", "o": "size=1m,uid=5", "device": "tmpfs"})
    make_volume(engine, "far", options={"type": "nfs", "o": "addr=10.0.0.1", "device": ":/export"})
    found = mounts(engine, binds=("there:/t", "memory:/m"))
    assert (found["/t"].source, found["/t"].rw, found["/t"].name) == (str(tmp_path), False, "there")
    assert (found["/m"].type, found["/m"].name) == ("tmpfs", "memory")
    assert found["/m"].options == ("exec", "dev", "suid", "size=1m", "uid=5")
    with pytest.raises(ContainerError, match="file systems of type `nfs` are not mounted here"):
        make(engine, binds=("far:/f",))
