"""Archives between firkin and dockerd, skopeo, podman, buildah and umoci, both ways, from files and through pipes."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.accounts import Firkin, make_firkin
from support.bases import ensure_base
from support.dockerd import Docker, running_dockerd
from support.image_archives import docker_files, layer_tar, tar_of
from support.readers import tool
from support.registry import Registry
from support.web import serving_files

from firkin.oci.digest import digest_of

pytestmark = [pytest.mark.xdist_group("archives"), pytest.mark.clients]
PODMAN = ("podman", "--storage-driver", "vfs")


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A short path: that of a socket may have 107 characters."""
    with tempfile.TemporaryDirectory(prefix="firkin-a-", dir="/var/tmp") as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


@pytest.fixture(scope="module")
def docker(place: Path) -> Iterator[Docker]:
    with running_dockerd(place / "docker") as running:
        yield running


@pytest.fixture(scope="module")
def filled(place: Path) -> Iterator[Firkin]:
    """Root's firkin with base:1, app:1 and app:2 (one more layer), and zstd:1 (two more, with zstd)."""
    firkin = make_firkin("root", place / "firkin")
    firkin.run("load", "-i", ensure_base("busybox"), "-t", "base:1")
    context = firkin.directory("context")
    (context / "hello").write_text("hello\n")
    (context / "Dockerfile").write_text("FROM base:1\nCOPY hello /hello\nENV A=b\nLABEL x=y\nCMD [\"cat\", \"/hello\"]\n")
    firkin.run("build", "-t", "app:1", "-t", "app:2", context)
    (context / "hello").write_text("zstd\n")
    firkin.run("build", "-t", "zstd:1", "-o", "type=image,compression=zstd,force-compression=true", context)
    yield firkin


@pytest.fixture
def fresh(firkin: Firkin) -> Firkin:
    """A firkin with an empty store, as root and as an ordinary user."""
    return firkin


def podman(place: Path, *words: object) -> str:
    roots = ("--root", place / "podman", "--runroot", place / "podman-run")
    return tool(*PODMAN, *roots, *words)


def loaded(output: str) -> list[str]:
    return re.findall(r"^Loaded image(?: ID)?: (.*)$", output, re.MULTILINE)


def id_of(firkin: Firkin, name: str) -> str:
    """Return the digest of the configuration, which is the id of an image everywhere."""
    manifest = json.loads(firkin.run("inspect", "--raw", "manifest", name).stdout)
    return str(manifest["config"]["digest"])


@pytest.mark.buildkit
def test_dockerd_loads_what_firkin_saves(filled: Firkin, docker: Docker) -> None:
    """Several images and tags through a pipe: gzip as it is, zstd as gzip, which 20.10 needs (trap 23)."""
    with filled.popen("save", "base", "app", "zstd:1", stdout=subprocess.PIPE) as save:
        output = docker.run("load", stdin=save.stdout).stdout
    assert save.returncode == 0
    assert sorted(loaded(output)) == ["app:1", "app:2", "base:1", "zstd:1"]
    for name in ("base:1", "app:2", "zstd:1"):
        assert docker.inspect(name)["Id"] == id_of(filled, name)
    assert docker.inspect("app:1")["Config"]["Labels"] == {"x": "y"}
    docker.run("rmi", "base:1", "app:1", "app:2", "zstd:1")


@pytest.mark.buildkit
def test_firkin_loads_what_dockerd_saves(filled: Firkin, docker: Docker, fresh: Firkin) -> None:
    docker.run("load", input=None, stdin=open(saved(filled, "app", "base:1"), "rb"))
    archive = fresh.place / "docker.tar"
    docker.run("save", "-o", archive, "app", "base:1")
    os.chmod(archive, 0o644)
    with tarfile.open(archive) as tar:
        assert "repositories" in tar.getnames() and "index.json" not in tar.getnames()
    output = fresh.run("load", "-i", archive).stdout
    assert sorted(loaded(output)) == ["app:1", "app:2", "base:1"]
    for name in ("app:1", "base:1"):
        assert id_of(fresh, name) == docker.inspect(name)["Id"]
    docker.run("rmi", "-f", "app:1", "app:2", "base:1")


@pytest.mark.buildkit
def test_the_words_are_dockers(filled: Firkin, docker: Docker, fresh: Firkin) -> None:
    """Loading, loading again, and loading over a name: the same lines, the same exit codes."""
    first, second = (tar_of(docker_files(layer_tar(file=data))) for data in (b"1", b"2"))
    nameless = tar_of(docker_files(layer_tar(file=b"3"), names=()))
    empty = tar_of({"manifest.json": b"[]"})
    for number, data in enumerate((first, first, second, nameless, empty, b"no tar" * 200)):
        archive = fresh.place / f"{number}.tar"
        archive.write_bytes(data)
        theirs = docker.run("load", "-q", "-i", archive, check=False)
        ours = fresh.run("load", "-q", "-i", archive, check=False)
        assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout if number != 4 else "")
    docker.run("rmi", "app:1")
    missing = fresh.run("load", "-i", fresh.place / "missing.tar", check=False)
    assert missing.returncode == docker.run("load", "-i", fresh.place / "missing.tar", check=False).returncode == 1
    assert "no such file or directory" in missing.stderr


def saved(filled: Firkin, *names: str, form: str = "docker") -> Path:
    archive = filled.place / f"{'-'.join(names).replace(':', '')}.{form}"
    filled.run("save", "--format", form, "-o", archive, *names)
    return archive


@pytest.mark.root
def test_skopeo_reads_and_writes(filled: Firkin, fresh: Firkin, scratch: Path) -> None:
    archive, layout = saved(filled, "app:1", "base:1"), saved(filled, "app:1", form="oci")
    assert json.loads(tool("skopeo", "list-tags", f"docker-archive:{archive}"))["Tags"] == ["app:1", "base:1"]
    sources = (f"docker-archive:{archive}:app:1", f"oci-archive:{layout}", f"oci:{saved(filled, 'app:1', form='oci-dir')}:1")
    for number, source in enumerate(sources):
        for kind in ("docker-archive", "oci-archive"):
            target = fresh.place / f"{kind}{number}.tar"
            tool("skopeo", "--insecure-policy", "copy", source, f"{kind}:{target}:{kind}:{number}")
            os.chmod(target, 0o644)
            assert loaded(fresh.run("load", "-i", target).stdout) == [f"{kind}:{number}"]
            assert id_of(fresh, f"{kind}:{number}") == config_in(f"{kind}:{target}")
    target = fresh.place / "nameless.tar"
    tool("skopeo", "--insecure-policy", "copy", sources[1], f"oci-archive:{target}")
    os.chmod(target, 0o644)
    assert loaded(fresh.run("load", "-i", target).stdout) == [id_of(filled, "app:1")]


def config_in(image: str) -> str:
    """Return the digest of the configuration that skopeo finds; it and buildah write it anew for another format."""
    return digest_of(subprocess.check_output(["skopeo", "inspect", "--config", "--raw", image]))


@pytest.mark.root
@pytest.mark.skipif(shutil.which("podman") is None, reason="podman is not installed")
def test_podman_reads_and_writes(filled: Firkin, fresh: Firkin, place: Path) -> None:
    podman(place, "load", "-i", saved(filled, "app:1"))
    podman(place, "load", "-i", saved(filled, "zstd:1", form="oci"))
    for name in ("app:1", "zstd:1"):
        assert podman(place, "image", "inspect", "--format", "{{.Id}}", name).strip() == id_of(filled, name)[7:]
    for form in ("docker-archive", "oci-archive"):
        archive = fresh.place / f"{form}.tar"
        podman(place, "save", "--format", form, "-o", archive, "app:1")
        os.chmod(archive, 0o644)
        assert loaded(fresh.run("load", "-i", archive).stdout) == ["app:1"]
        assert id_of(fresh, "app:1") == id_of(filled, "app:1")


@pytest.mark.root
def test_umoci_and_buildah_read_and_buildah_writes(filled: Firkin, fresh: Firkin, scratch: Path) -> None:
    layout = saved(filled, "app:1", form="oci-dir")
    assert tool("umoci", "ls", "--layout", layout).split() == ["1"]
    tool("umoci", "unpack", "--image", f"{layout}:1", scratch / "bundle")
    assert (scratch / "bundle/rootfs/hello").read_text() == "hello\n"
    roots = ("--root", scratch / "buildah", "--runroot", scratch / "run", "--storage-driver", "vfs")
    tool("buildah", *roots, "pull", f"docker-archive:{saved(filled, 'app:1')}")
    for form, reference in (("oci-archive", "quay.example/team/app:3"), ("docker-archive", "quay.example/team/app:4")):
        archive = fresh.place / f"{form}.tar"
        tool("buildah", *roots, "push", "app:1", f"{form}:{archive}:{reference}")
        os.chmod(archive, 0o644)
        assert reference in loaded(fresh.run("load", "-i", archive).stdout)
        assert id_of(fresh, reference) == config_in(f"{form}:{archive}{f':{reference}' * (form == 'docker-archive')}")


@pytest.mark.root
def test_a_pipe_from_store_to_store(filled: Firkin, fresh: Firkin) -> None:
    """Read once, with each compression around it; the digest of the manifest survives (trap 4)."""
    for command in (["cat"], ["gzip", "-1"], ["bzip2"], ["xz", "-0"], ["zstd", "-q"]):
        save = filled.popen("save", "app", stdout=subprocess.PIPE)
        press = subprocess.Popen(command, stdin=save.stdout, stdout=subprocess.PIPE)
        assert save.stdout is not None and press.stdout is not None
        save.stdout.close()
        load = fresh.popen("load", stdin=press.stdout, stdout=subprocess.PIPE)
        press.stdout.close()
        output = load.communicate(timeout=100)[0].decode()
        assert (save.wait(), press.wait(), load.returncode) == (0, 0, 0)
        assert loaded(output) == ["app:1", "app:2"]
    for what in ("manifest", "config"):
        raw = [one.run("inspect", "--raw", what, "app:1").stdout for one in (filled, fresh)]
        assert raw[0] == raw[1]


def test_names_for_nameless_archives_trap_2(fresh: Firkin) -> None:
    archive = fresh.place / "nameless.tar"
    archive.write_bytes(tar_of(docker_files(layer_tar(file=b"x"), names=())))
    output = fresh.run("load", "-i", archive).stdout
    assert re.fullmatch(r"Loaded image ID: sha256:[0-9a-f]{64}\n", output)
    assert fresh.run("load", "-i", archive, "--tag", "team/app").stdout == "Loaded image: team/app:latest\n"


def test_refused_on_the_command_line(fresh: Firkin) -> None:
    for words, told in (
        (("save",), "needs an image"),
        (("save", "nothing:1"), "nothing:1"),
        (("save", "--format", "oci-dir", "x"), "needs a place"),
        (("load", "--platform", "no/such/plat/form"), "--platform"),
        (("load", "-t", "NO"), "lower"),
    ):
        result = fresh.run(*words, check=False)
        assert result.returncode == 1 and told in result.stderr
    terminal = ["script", "-qec", "{}", "/dev/null"]
    for words, told in ((("save", "x"), "cowardly refusing to save to a terminal. Use the -o flag or redirect"),
                        (("load",), "requested load from stdin, but stdin is empty")):  # fmt: skip
        command = " ".join(map(str, fresh.command(*words)))
        done = fresh.account.run([word.format(command) for word in terminal], env=fresh.environment(), stdin=subprocess.PIPE)
        assert done.returncode == 1 and told in done.stdout


def everything(root: Path) -> dict[str, int]:
    """Return the files of blobs and scratch space, and the list of images."""
    listed = {str(path): path.stat().st_size for path in (root / "oci/blobs").rglob("*") if path.is_file()}
    listed |= {str(path): path.stat().st_size for path in (root / "tmp").rglob("*") if path.is_file()}
    return {**listed, "index": hash((root / "oci/index.json").read_text())}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_load_that_is_killed_leaves_nothing(fresh: Firkin, number: int) -> None:
    fresh.run("images")
    before = everything(fresh.store)
    data = tar_of(docker_files(layer_tar(file=os.urandom(3 << 20)), layer_tar(more=os.urandom(3 << 20))))
    load = fresh.popen("load", stdin=subprocess.PIPE)
    assert load.stdin is not None
    load.stdin.write(data[: 5 << 20])
    load.stdin.flush()
    for _ in range(200):
        if sum(path.stat().st_size for path in (fresh.store / "tmp").rglob("*blob*")) > 4 << 20:
            break
        time.sleep(0.05)
    else:
        raise AssertionError("nothing comes in")
    load.send_signal(number)
    status = load.wait(20)
    assert status == (-number if number == signal.SIGKILL else 128 + number)
    load.stdin.close()
    fresh.run("images")
    assert everything(fresh.store) == before


def test_a_save_that_is_interrupted_keeps_the_old_file_trap_32(fresh: Firkin) -> None:
    archive = fresh.place / "in.tar"
    archive.write_bytes(tar_of(docker_files(layer_tar(file=os.urandom(8 << 20)))))
    fresh.run("load", "-i", archive)
    target = fresh.place / "out.tar"
    target.write_text("before")
    fresh.account.give(target)
    (blob,) = [path for path in (fresh.store / "oci/blobs").rglob("*") if path.is_file() and path.stat().st_size > 8 << 20]
    os.truncate(blob, 8 << 20)
    assert fresh.run("save", "-o", target, "app:1", check=False).returncode == 1
    assert target.read_text() == "before" and not [name for name in os.listdir(fresh.place) if name.startswith(".out")]


def test_saved_files_are_private_and_a_reader_may_leave(fresh: Firkin) -> None:
    archive = fresh.place / "in.tar.gz"
    archive.write_bytes(gzip.compress(tar_of(docker_files(layer_tar(file=os.urandom(8 << 20)))), 1))
    fresh.run("load", "-i", archive)
    fresh.run("save", "-o", "out.tar", "app:1")
    assert stat.S_IMODE((fresh.place / "out.tar").stat().st_mode) == 0o600
    save = fresh.popen("save", "app:1", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert save.stdout is not None
    save.stdout.read(1000)
    save.stdout.close()
    assert save.wait(20) == 141


CHANGES = (
    "CMD echo hi", 'ENTRYPOINT ["x", "$A"]', "ENV A=b C=$A", "WORKDIR /w", "WORKDIR deeper", "EXPOSE 80 53/udp", "USER u",
    "HEALTHCHECK --interval=5s --retries=3 CMD true", "LABEL a=b 'c d'=e", "ONBUILD RUN x", "VOLUME /v /w",
)  # fmt: skip


@pytest.mark.buildkit
@pytest.mark.parametrize("changes", [(), CHANGES])
def test_import_makes_dockers_configuration(docker: Docker, fresh: Firkin, changes: tuple[str, ...]) -> None:
    archive = fresh.place / "root.tar"
    archive.write_bytes(layer_tar(file=b"x"))
    options = [word for change in changes for word in ("--change", change)] + ["-m", "by hand"] * bool(changes)
    theirs = json.loads(docker.run("image", "inspect", docker.run("import", *options, archive).stdout.strip()).stdout)[0]
    id = fresh.run("import", *options, archive, "made:1").stdout.strip()
    assert id == id_of(fresh, "made:1")
    ours = json.loads(fresh.run("inspect", "--raw", "config", "made:1").stdout)
    wanted = {key: value for key, value in theirs["Config"].items() if value not in (None, "", False)}
    assert ours["config"] == wanted
    assert len(ours["rootfs"]["diff_ids"]) == len(theirs["RootFS"]["Layers"]) == 1
    (line,) = ours["history"]
    assert line["comment"] == theirs["Comment"] == ("by hand" if changes else "Imported from -")


def test_import_from_a_pipe_a_url_and_what_is_refused(fresh: Firkin) -> None:
    archive = fresh.place / "root.tar.gz"
    archive.write_bytes(gzip.compress(layer_tar(file=b"x")))
    load = fresh.popen("import", "-", "piped:1", stdin=open(archive, "rb"), stdout=subprocess.PIPE)
    assert load.communicate(timeout=60)[0].decode().strip() == id_of(fresh, "piped:1")
    with serving_files() as server:
        address = server.put("/root.tar.gz", archive.read_bytes())
        fresh.run("import", address, "fetched:1")
        missing = fresh.run("import", f"{address}-missing", check=False)
    assert missing.returncode == 1 and "404" in missing.stderr
    (line,) = json.loads(fresh.run("inspect", "--raw", "config", "fetched:1").stdout)["history"]
    assert line["comment"] == f"Imported from {address}"
    for words, told in (
        (("import",), "needs a file"),
        (("import", "missing.tar"), "no such file"),
        (("import", "-c", "RUN x", str(archive)), "run is not a valid change command"),
        (("import", str(archive), "x@sha256:" + "0" * 64), "digest"),
    ):
        result = fresh.run(*words, check=False)
        assert result.returncode == 1 and told in result.stderr, result.stderr


def test_what_was_loaded_uncompressed_is_compressed_for_a_registry(fresh: Firkin, registry: Registry) -> None:
    repository = f"plain-{fresh.account.name}"
    name = registry.reference(f"{repository}:1")
    layer = layer_tar(file=b"x" * 200_000)
    (fresh.place / "plain.tar").write_bytes(tar_of(docker_files(layer, names=(name,))))
    fresh.run("load", "-i", fresh.place / "plain.tar")
    for _ in range(2):
        said = fresh.run("push", name)
        raw = registry.get(f"{repository}/manifests/1")
        assert f"digest: {digest_of(raw)} size" in said.stdout and said.stderr == ""
    (listed,) = json.loads(raw)["layers"]
    assert listed["mediaType"].endswith("gzip")
    assert gzip.decompress(registry.get(f"{repository}/blobs/{listed['digest']}")) == layer
    (document,) = json.loads(fresh.run("inspect", name).stdout)
    assert document["RepoDigests"] == [f"{name.removesuffix(':1')}@{digest_of(raw)}"]
    assert document["RootFS"]["Layers"] == [digest_of(layer)]
