"""Images and commands that exchange paths for links, in the three surroundings: what is outside of the root stays whole."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.accounts import Firkin, make_firkin
from support.marks import ROOT_AND_USER
from support.pairs import NAMES, Built, Pair
from support.programs import KEEPER, PASSER, compiled
from support.registry import Registry

needs_pods = pytest.mark.root


@pytest.fixture(scope="module", params=NAMES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Each of the surroundings, with one store for the whole module."""
    place = tmp_path_factory.mktemp(request.param)
    for parent in (place, *place.parents[:2]):
        parent.chmod(0o755)
    yield Pair(request.param, place)


@pytest.fixture
def outside(pair: Pair) -> Iterator[Path]:
    """A directory that firkin can reach and no step has anything to do with."""
    place = pair.shared / "outside"
    place.mkdir()
    (place / "victim").write_text("precious\n")
    (place / "cache").mkdir()
    (place / "cache/config.json").write_text("credentials\n")
    (place / "new").mkdir()
    before = listing(place)
    yield place
    assert listing(place) == before
    shutil.rmtree(place)


def lines(built: Built) -> list[str]:
    """Return what the steps printed."""
    return [match[1] for match in re.finditer(r"^#\d+ \d+\.\d+ (.*)$", built.said, re.M)]


def listing(place: Path) -> list[tuple[object, ...]]:
    return sorted(
        (str(path), path.lstat().st_mode, path.lstat().st_mtime_ns, path.read_text() if path.is_file() else "")
        for path in (place, *place.rglob("*"))
    )


EXCHANGED = """\
FROM busybox
RUN mkdir /d /c && echo image >/d/victim && touch -d 2020-01-01 /d/victim
RUN --mount=type=bind,source=f,target=/d/victim mv /d /e && ln -s OUT /d
RUN --mount=type=secret,id=s,target=/c/new/s mv /c /c1 && ln -s OUT /c
RUN rm /c && mkdir /c
RUN --mount=type=cache,id=k,target=/c/cache echo kept >/c/cache/mine && mv /c /c2 && ln -s OUT /c
RUN --mount=type=cache,id=k,target=/k cat /k/* >/found; cat /e/victim >>/found
"""


@needs_pods
def test_parents_that_are_exchanged_for_links(pair: Pair, outside: Path) -> None:
    if pair.name == "namespaces":
        pytest.skip("a directory that holds mounts cannot be moved: rename(2) refuses directories of lower layers")
    (pair.shared / "secret").write_text("hush\n")
    secret = f"--secret=id=s,src={pair.inside(pair.shared / 'secret')}"
    dockerfile = EXCHANGED.replace("OUT", pair.inside(outside))
    tree = pair.build(dockerfile, {"f": "shown\n"}, secret).tree()
    assert tree["d"][4] == tree["c"][4]
    assert tree["e/victim"] != tree["found"]
    found = pair.build(dockerfile + "RUN cat /found\n", {"f": "shown\n"}, secret).said
    assert "kept" in found and "image" in found and "credentials" not in found and "hush" not in found


@needs_pods
@pytest.mark.parametrize("name", ["dev", "etc", "run", "x"])
def test_images_whose_directories_are_links_out(pair: Pair, outside: Path, name: str) -> None:
    if pair.name == "inplace" and name != "x":
        pytest.skip("these belong to the container")
    context = pair.context(
        "FROM scratch\nCOPY --from=busybox /bin /bin\nCOPY tree/ /\n"
        "RUN --mount=type=tmpfs,target=/x/y --mount=type=secret,id=s ls -d /x/y; cat /run/secrets/s >/got; "
        "echo nothing >/dev/null; wc -c </got\n"
    )
    (context / "tree").mkdir()
    (context / "tree" / name).symlink_to(f"../../..{pair.inside(outside)}")
    (pair.shared / "secret").write_text("hush\n")
    options = (f"--secret=id=s,src={pair.inside(pair.shared / 'secret')}", "--no-cache")
    result = pair.run(pair.arguments(context, *options))
    assert result.returncode == 0, result.stdout + result.stderr


@needs_pods
@pytest.mark.parametrize("name", ["proc", "sys"])
def test_an_image_whose_proc_is_a_link(pair: Pair, outside: Path, name: str) -> None:
    context = pair.context("FROM scratch\nCOPY --from=busybox /bin /bin\nCOPY tree/ /\nRUN true\n")
    (context / "tree").mkdir()
    (context / "tree" / name).symlink_to(f"../../..{pair.inside(outside)}")
    result = pair.run(pair.arguments(context, "--no-cache"))
    if pair.name == "namespaces":
        assert result.returncode == 3 and f"attach `/{name}`: not a directory" in result.stderr


@needs_pods
def test_two_steps_cannot_lead_each_other_out(pair: Pair, outside: Path) -> None:
    """A descriptor of a directory that is not beneath one's own root is a way out of a chroot."""
    if pair.name == "inplace":
        pytest.skip("one step at a time, on the container's own root")
    name = f"firkin-test-{os.getpid()}-{pair.name}"
    dockerfile = (
        "FROM busybox AS giver\nCOPY passer /passer\n"
        f"RUN /passer give {name} x >/said\n"
        "FROM busybox AS taker\nCOPY passer /passer\n"
        f"RUN /passer take {name} {pair.inside(outside).lstrip('/')} >/said\n"
        "FROM busybox\nCOPY --from=giver /said /one\nCOPY --from=taker /said /two\nRUN cat /one /two\n"
    )
    said = lines(pair.build(dockerfile, {"passer": compiled(PASSER)}))
    assert "ESCAPED" not in said
    assert {"nobody called", "nobody answered", "went nowhere"} & set(said)


@needs_pods
def test_a_cache_that_is_exchanged_for_a_link(pair: Pair, outside: Path) -> None:
    out = pair.inside(outside)
    first = f"FROM busybox\nRUN --mount=type=cache,id=x,target=/c touch /c/x; rm -rf /c; ln -s {out} /c; true\n"
    second = "FROM busybox\nRUN --mount=type=cache,id=x,target=/c ls -A /c; touch /c/written # {}\n"
    saved = f"type=local,dest={pair.inside(pair.shared / 'saved')},mounts=true"
    said = pair.build(first, {}, f"--cache-to={saved}").said
    if pair.name != "namespaces":
        assert "starts empty next time" in said
    for blob in (pair.shared / "saved").rglob("*"):
        assert not blob.is_file() or b"credentials" not in blob.read_bytes()
    assert "credentials" not in pair.build(second.format(1)).said
    assert "written" in lines(pair.build(second.format(2)))
    shutil.rmtree(pair.shared / "saved")


@pytest.mark.registry
def test_a_cache_that_no_path_reaches_into_is_not_saved(firkin: Firkin, scratch: Path) -> None:
    context = scratch / "context"
    context.mkdir()
    deep = "n=$(head -c 200 /dev/zero | tr '\\0' d); for i in $(seq 20); do mkdir $n; cd $n; done"
    (context / "Dockerfile").write_text(f"FROM busybox\nRUN --mount=type=cache,target=/c cd /c; {deep}\n")
    saved = f"--cache-to=type=local,dest={firkin.directory('saved')},mounts=true"
    assert "is not saved: its directories are nested too deeply" in firkin.run("build", saved, str(context)).stderr


@pytest.mark.registry
@pytest.mark.parametrize("entry", ["fs", ""])
def test_a_store_in_which_a_link_stands_for_a_cache(firkin: Firkin, scratch: Path, entry: str) -> None:
    outside = scratch / "outside"
    outside.mkdir()
    outside.chmod(0o777)
    (outside / "fs").mkdir()
    (outside / "secret").write_text("credentials")
    context = scratch / "context"
    context.mkdir()
    step = "FROM busybox\nRUN --mount=type=cache,target=/c ls -A /c; cat /c/secret; touch /c/{}; true\n"
    (context / "Dockerfile").write_text(step.format("first"))
    firkin.run("build", str(context))
    (context / "Dockerfile").write_text(step.format("written"))
    (mount,) = (path for path in firkin.store.glob("mounts/*") if path.is_dir())
    place = mount / entry if entry else mount
    shutil.rmtree(place)
    place.symlink_to(outside)
    saved = f"--cache-to=type=local,dest={firkin.directory('saved')},mounts=true"
    result = firkin.run("build", str(context), "--progress=plain", saved)
    assert "credentials" not in result.stdout + result.stderr
    assert sorted(os.listdir(outside)) == ["fs", "secret"]
    assert os.listdir(outside / "fs") == []
    assert (mount / "fs/written").exists() and not place.is_symlink()


@pytest.mark.registry
@pytest.mark.parametrize("owner", [*ROOT_AND_USER, pytest.param("plain", marks=pytest.mark.root)])
def test_modes_and_owners_of_devices_are_a_steps_own(scratch: Path, registry: Registry, owner: str) -> None:
    """A step of root is root: what it does to a node of the machine's would be done to all of the machine."""
    firkin = make_firkin(owner, scratch / "firkin", registry.url)
    context = firkin.directory("context")
    (context / "Dockerfile").write_text(
        "FROM busybox\nRUN chmod 640 /dev/full; chown 5:5 /dev/full; stat -c %a:%u /dev/full; echo x >/dev/null\n"
        "RUN stat -c %a /dev/full; head -c 3 /dev/zero | wc -c\n"
    )
    before = os.stat("/dev/full")
    try:
        said = firkin.run("build", "--progress=plain", str(context))
        assert os.stat("/dev/full")[:6] == before[:6]
    finally:
        if os.geteuid() == 0:
            os.chown("/dev/full", before.st_uid, before.st_gid)
            os.chmod("/dev/full", before.st_mode & 0o7777)
    found = re.findall(r"^#\d+ \d+\.\d+ ([\d:]+)$", said.stdout + said.stderr, re.M)
    assert found[1:] == ["666", "3"]
    assert found[0] == "640:5" or owner != "root"


def keeping(scratch: Path, owner: str, given: str) -> Path:
    """Make a context of two steps, of which one passes what it has to the other one and ends."""
    context = scratch / f"context-{owner}"
    context.mkdir()
    context.chmod(0o755)
    (context / "keeper").write_bytes(compiled(KEEPER))
    mount = "--mount=type=cache,id=meet,target=/meet"
    (context / "Dockerfile").write_text(
        "FROM busybox AS both\nCOPY --chmod=755 keeper /\n"
        f"FROM both AS giver\nRUN {mount} --mount=type=cache,id=own,target=/own mkdir /d; touch /d/file; "
        f"/keeper give /meet/socket {given}\n"
        f"FROM both AS taker\nRUN {mount} /keeper take /meet/socket | tee /said\n"
        "FROM scratch\nCOPY --from=giver /d /d\nCOPY --from=taker /said /\n"
    )
    return context


@pytest.mark.registry
@pytest.mark.parametrize("given", ["/d", "/own"])
@pytest.mark.parametrize("owner", [*ROOT_AND_USER, pytest.param("plain", marks=pytest.mark.root)])
def test_what_a_step_passed_on_cannot_be_changed_once_it_ended(
    scratch: Path, registry: Registry, owner: str, given: str
) -> None:
    """Whoever has a directory of a layer or a cache could exchange it for a link while firkin reads it."""
    firkin = make_firkin(owner, scratch / "firkin", registry.url)
    output = firkin.directory("output")
    firkin.run("build", "--no-cache", f"--output={output}", str(keeping(scratch, owner, given)))
    assert (output / "said").read_text() == "shut out\n"
    assert os.listdir(output / "d") == ["file"]


@pytest.mark.registry
def test_a_step_ends_when_nobody_writes_to_its_files(firkin: Firkin, scratch: Path) -> None:
    output = firkin.directory("output")
    firkin.run("build", "--no-cache", f"--output={output}", str(keeping(scratch, "any", "/d/file")))
    assert (output / "said").read_text() == "still there\n"
    assert (output / "d/file").read_text() == "late\n" * 40


@pytest.mark.root
@pytest.mark.registry
def test_devices_of_an_image_or_a_step_cannot_be_opened(scratch: Path, registry: Registry) -> None:
    """By chroot on a machine, where no container's list of devices stands before a disk."""
    firkin = make_firkin("root", scratch / "firkin", registry.url)
    context = scratch / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(
        "FROM busybox\nRUN mknod /z c 1 5; mknod /dev/z c 1 5; head -c 4 /z || head -c 4 /dev/z || echo refused\n"
        "RUN head -c 4 /z || echo refused; head -c 4 /dev/zero | wc -c; echo x >/dev/null; stat -c %t:%T /z\n"
    )
    result = firkin.run("build", "--isolation=chroot", "--progress=plain", str(context))
    said = re.findall(r"^#\d+ \d+\.\d+ (?!head:)(.*)$", result.stdout + result.stderr, re.M)
    assert said == ["refused", "refused", "4", "1:5"]
