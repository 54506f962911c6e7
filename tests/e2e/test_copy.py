"""`firkin copy` between real registries and files, as root and as an ordinary user; compared with skopeo."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.accounts import Firkin
from support.registry import Registry, running_registry

pytestmark = [pytest.mark.registry, pytest.mark.clients]
MULTI, ONE = "library/busybox:1.35", "library/debian:bookworm"


@pytest.fixture(scope="module")
def second() -> Iterator[Registry]:
    """A registry that is empty at first."""
    with running_registry() as started:
        yield started


@pytest.fixture(scope="module")
def first() -> Iterator[Registry]:
    with running_registry() as started:
        started.seed_bases("debian")
        started.seed_platforms("busybox-arm64", "busybox")
        started.seed_platforms("busybox", "busybox-arm64")
        yield started


def skopeo(*words: object) -> str:
    return subprocess.run(["skopeo", *map(str, words)], check=True, capture_output=True, text=True).stdout


def raw(place: str) -> bytes:
    secure = ["--tls-verify=false"] if place.startswith("docker:") else []
    return subprocess.run(["skopeo", "inspect", *secure, "--raw", place], check=True, capture_output=True).stdout


def digest_of(result: "subprocess.CompletedProcess[str]") -> str:
    return result.stdout.strip().rpartition("@")[2]


def test_registry_to_registry_is_what_skopeo_copies(firkin: Firkin, first: Registry, second: Registry) -> None:
    mine, theirs = (second.reference(f"{firkin.account.name}/{name}:1") for name in ("mine", "theirs"))
    result = firkin.run("copy", first.reference(MULTI), mine)
    assert result.stdout == f"{mine}@{digest_of(result)}\n"
    skopeo("copy", "-q", "--all", "--src-tls-verify=false", "--dest-tls-verify=false",
           f"docker://{first.reference(MULTI)}", f"docker://{theirs}")  # fmt: skip
    assert raw(f"docker://{mine}") == raw(f"docker://{theirs}")
    index = json.loads(raw(f"docker://{mine}"))
    assert {entry["platform"]["architecture"] for entry in index["manifests"]} == {"amd64", "arm64"}
    again = firkin.run("copy", "--digestfile", firkin.place / "digest", first.reference(MULTI), mine)
    assert again.stdout == result.stdout and "sha256:" not in again.stderr
    assert (firkin.place / "digest").read_text() == digest_of(result)


@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive", "oci", "dir"])
def test_what_firkin_writes_skopeo_reads(
    transport: str, firkin: Firkin, first: Registry, second: Registry
) -> None:
    place = f"{transport}:{firkin.place / transport}" + ("" if transport == "dir" else ":app:1")
    firkin.run("copy", first.reference(ONE), place)
    named = f"docker://{second.reference(f'{firkin.account.name}/{transport}:1')}"
    exact = [] if transport == "docker-archive" else ["--preserve-digests"]
    skopeo("copy", "-q", *exact, "--dest-tls-verify=false", place, named)
    config = json.loads(skopeo("inspect", "--tls-verify=false", "--config", named))
    assert config == json.loads(skopeo("inspect", "--tls-verify=false", "--config", f"docker://{first.reference(ONE)}"))
    if transport != "docker-archive":
        assert raw(named) == raw(f"docker://{first.reference(ONE)}")


@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive", "oci", "dir"])
def test_what_skopeo_writes_firkin_reads(
    transport: str, firkin: Firkin, first: Registry, second: Registry
) -> None:
    place = f"{transport}:{firkin.place / f'their-{transport}'}" + ("" if transport == "dir" else ":app:1")
    skopeo("copy", "-q", "--src-tls-verify=false", f"docker://{first.reference(ONE)}", place)
    firkin.account.give(Path(place.split(":")[1]))
    name = second.reference(f"{firkin.account.name}/their-{transport}:1")
    firkin.run("copy", place, name)
    config = json.loads(skopeo("inspect", "--tls-verify=false", "--config", f"docker://{name}"))
    assert config == json.loads(skopeo("inspect", "--tls-verify=false", "--config", f"docker://{first.reference(ONE)}"))
    manifest = json.loads(raw(f"docker://{name}"))
    assert all(layer["mediaType"].endswith("gzip") for layer in manifest["layers"])
    if transport != "docker-archive":
        assert raw(f"docker://{name}") == raw(f"docker://{first.reference(ONE)}")


def test_the_store_is_a_place_like_others(firkin: Firkin, first: Registry, second: Registry) -> None:
    firkin.run("copy", first.reference(MULTI), "store:app:1")
    assert re.search(r"^app\s+1\s", firkin.run("images").stdout, re.MULTILINE)
    repository, digest = first.reference(MULTI).rpartition(":")[0], firkin.run("digest", first.reference(MULTI)).stdout
    pinned = f"{repository}@{digest.strip()}"
    assert json.loads(firkin.run("inspect", "-f", "{{json .RepoDigests}}", "app:1").stdout) == [pinned]
    firkin.run("copy", "--format", "v2s2", first.reference(MULTI), "store:changed:1")
    assert json.loads(firkin.run("inspect", "-f", "{{json .RepoDigests}}", "changed:1").stdout) == [pinned], (
        "of one configuration, so one image; the repository does not have the changed manifest"
    )
    name = second.reference(f"{firkin.account.name}/stored:1")
    firkin.run("copy", "store:app:1", name)
    assert raw(f"docker://{name}") == raw(f"docker://{first.reference(MULTI)}")
    context = firkin.directory("context")
    (context / "Dockerfile").write_text("FROM app:1\nCOPY Dockerfile /\n")
    firkin.account.give(context)
    firkin.run("build", "-t", "child:1", context)


def test_formats_compressions_and_platforms(firkin: Firkin, first: Registry, second: Registry) -> None:
    def copied(*options: str) -> dict[str, object]:
        name = second.reference(f"{firkin.account.name}/form:1")
        firkin.run("copy", *options, first.reference(MULTI), name)
        return dict(json.loads(raw(f"docker://{name}")))

    docker = "application/vnd.docker.distribution.manifest"
    assert copied("--format", "v2s2")["mediaType"] == f"{docker}.list.v2+json"
    assert copied("--format", "v2s2", "--platform", "linux/arm64")["mediaType"] == f"{docker}.v2+json"
    for options, ending in (
        (("--dest-compress-format", "zstd"), "tar+zstd"),
        (("--dest-decompress",), "tar"),
        (("--dest-compress-level", "9"), "tar+gzip"),
    ):
        manifest = copied("--multi-arch", "system", *options)
        assert [layer["mediaType"].rpartition(".")[2] for layer in manifest["layers"]] == [ending]  # type: ignore[attr-defined]
    for options, why in (
        (("--preserve-digests", "--format", "v2s2"), "changes the digest"),
        (("--format", "v2s2", "--dest-compress-format", "zstd"), "does not know zstd"),
        (("--platform", "linux/s390x"), "there is: linux/amd64, linux/arm64"),
        (("--all", "--platform", "linux/arm64"), "exclude one another"),
        (("--sign-by", "me"), "cosign"),
    ):
        result = firkin.run("copy", *options, first.reference(MULTI), second.reference("x:1"), check=False)
        assert result.returncode == (125 if "--sign-by" in options else 1) and why in result.stderr


def test_each_side_has_its_credentials(firkin: Firkin, first: Registry) -> None:
    from support.registry import PASSWORD, USER

    with running_registry(auth="basic") as closed:
        name = closed.reference("app:1")
        refused = firkin.run("copy", first.reference(ONE), name, check=False)
        assert refused.returncode == 1 and "firkin login" in refused.stderr
        firkin.run("copy", "--dest-creds", f"{USER}:{PASSWORD}", first.reference(ONE), name)
        firkin.run("copy", "--src-username", USER, "--src-password", PASSWORD, name, f"oci:{firkin.place / 'lay'}")
        wrong = firkin.run("copy", "--src-creds", f"{USER}:wrong", name, f"oci:{firkin.place / 'lay'}", check=False)
        assert wrong.returncode == 1 and "wrong" not in wrong.stderr
    with running_registry(tls=True) as secure:
        name = secure.reference("app:1")
        assert firkin.run("copy", first.reference(ONE), name, check=False).returncode == 1
        firkin.run("copy", "--dest-tls-verify=false", first.reference(ONE), name)


def test_other_transports_say_what_to_do(firkin: Firkin) -> None:
    for place in ("docker-daemon:app:1", "containers-storage:app:1"):
        result = firkin.run("copy", place, "store:app:1", check=False)
        assert result.returncode == 1 and "docker-archive:FILE" in result.stderr


def test_digest_config_and_tags(firkin: Firkin, first: Registry) -> None:
    name = first.reference(MULTI)
    index = json.loads(raw(f"docker://{name}"))
    digest = firkin.run("digest", name).stdout.strip()
    assert digest == json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{name}"))["Digest"]
    assert firkin.run("digest", "--full-ref", name).stdout == f"{first.host}/library/busybox@{digest}\n"
    arm = next(item["digest"] for item in index["manifests"] if item["platform"]["architecture"] == "arm64")
    assert firkin.run("digest", "--platform", "linux/arm64", name).stdout.strip() == arm
    (firkin.place / "manifest").write_bytes(raw(f"docker://{name}"))
    assert firkin.run("manifest-digest", firkin.place / "manifest").stdout.strip() == digest
    config = skopeo("inspect", "--tls-verify=false", "--raw", "--config", f"docker://{name}")
    assert firkin.run("config", name).stdout == config
    assert '"arm64"' in firkin.run("config", "--platform", "linux/arm64", name).stdout
    theirs = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{first.host}/library/busybox"))
    repository = f"{first.host}/library/busybox"
    assert json.loads(firkin.run("ls-tags", "--json", repository).stdout) == theirs
    assert firkin.run("list-tags", repository).stdout.split() == theirs["Tags"]
    assert firkin.run("ls-tags", "--full-ref", repository).stdout.split()[0] == f"{repository}:{theirs['Tags'][0]}"
    assert firkin.run("ls-tags", name, check=False).returncode == 1
    archive = firkin.place / "a.tar"
    firkin.run("copy", "--additional-tag", "app:2", name, f"docker-archive:{archive}:app:1")
    assert firkin.run("ls-tags", f"docker-archive:{archive}").stdout.split() == ["app:1", "app:2"]
    assert firkin.run("config", f"docker-archive:{archive}").stdout == config
    assert firkin.run("digest", "--tarball", archive).stdout.startswith("sha256:")


def test_who_means_the_store_is_told_how_to_write_that(firkin: Firkin, first: Registry) -> None:
    name = first.reference("team/nowhere:1")
    firkin.run("copy", first.reference(MULTI), f"store:{name}")
    for words in (("digest", name), ("config", name), ("copy", name, "docker-archive:-")):
        result = firkin.run(*words, check=False)
        assert result.returncode == 1 and f"hint: the store has this name: `store:{name}`" in result.stderr
    result = firkin.run("digest", first.reference("team/nowhere:2"), check=False)
    assert result.returncode == 1 and "the store has" not in result.stderr


def test_validate_passes_what_is_sound_and_names_what_is_not(firkin: Firkin, first: Registry) -> None:
    archive, layout = firkin.place / "a.tar", firkin.place / "layout"
    firkin.run("copy", first.reference(ONE), f"docker-archive:{archive}")
    firkin.run("copy", first.reference(MULTI), f"oci:{layout}")
    firkin.run("copy", first.reference(MULTI), "store:app:1")
    result = firkin.run("validate", first.reference(MULTI), "--tarball", archive, f"oci:{layout}", "store:app:1")
    assert result.stdout == "".join(
        f"PASS: {name}\n" for name in (first.reference(MULTI), f"oci:{layout}", "store:app:1", archive)
    )
    layer = max((layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = layer.read_bytes()
    layer.write_bytes(data[:-9] + bytes(9))
    assert firkin.run("validate", "--fast", f"oci:{layout}").stdout.startswith("PASS")
    for command in (("validate",), ("validate", "--platform", "linux/amd64,linux/arm64")):
        result = firkin.run(*command, f"oci:{layout}", check=False)
        assert result.returncode == 1 and result.stdout.startswith(f"FAIL: oci:{layout}: ")
        assert layer.name in result.stdout and result.stdout.count("\n") == 1
    layer.unlink()
    result = firkin.run("validate", "--fast", f"oci:{layout}", check=False)
    assert result.stdout == f"FAIL: oci:{layout}: blob sha256:{layer.name} is missing\n" and result.returncode == 1
    result = firkin.run("validate", first.reference("library/absent:1"), check=False)
    assert result.returncode == 1 and result.stdout.startswith("FAIL: ")


def test_all_tags_go_and_names_that_exist_can_be_left_alone(
    firkin: Firkin, first: Registry, second: Registry
) -> None:
    source, target = f"{first.host}/library/debian", f"{second.host}/{firkin.account.name}/all-tags"
    tags = firkin.run("ls-tags", source).stdout.split()
    assert len(tags) == 3
    firkin.run("copy", first.reference(MULTI), f"{target}:{tags[0]}")
    before = firkin.run("digest", f"{target}:{tags[0]}").stdout
    written = firkin.run("copy", "--all-tags", "--no-clobber", source, target).stdout.split()
    assert [name.partition("@")[0] for name in written] == [f"{target}:{tag}" for tag in tags[1:]]
    assert firkin.run("digest", f"{target}:{tags[0]}").stdout == before
    firkin.run("copy", "--all-tags", source, target)
    digests = firkin.run("digest", *(f"{target}:{tag}" for tag in tags)).stdout.split()
    assert set(digests) == {firkin.run("digest", f"{source}:{tags[0]}").stdout.strip()}
    assert firkin.run("copy", "-n", f"{source}:12", f"{target}:12").stdout == ""
    result = firkin.run("copy", "--all-tags", f"{source}:12", target, check=False)
    assert result.returncode == 1 and "name both without a tag" in result.stderr


def test_peak_memory_stays_small(firkin: Firkin, first: Registry, second: Registry) -> None:
    """The base has 45 MB in one layer; the interpreter and the libraries take about 45 MB."""
    name = second.reference(f"{firkin.account.name}/memory:1")
    timed = ["/usr/bin/time", "-f", "%M", *firkin.command("copy", "-q", first.reference(ONE), name)]
    result = subprocess.run(timed, env=firkin.environment(), capture_output=True, text=True, check=True)
    assert int(result.stderr.split()[-1]) < 150_000


def test_trap_26_deleting_a_tag_tells_which_others_go(firkin: Firkin, first: Registry, second: Registry) -> None:
    """The registry of Debian deletes manifests only."""
    repository = f"{second.host}/{firkin.account.name}/deleted"
    for tag in ("1", "2"):
        firkin.run("copy", first.reference(ONE), f"{repository}:{tag}")
    firkin.run("copy", first.reference(MULTI), f"{repository}:3")
    declined = firkin.run("delete", f"{repository}:1", input="n\n")
    assert "with it these tags: 2\nAre you sure you want to continue? [y/N] " in declined.stdout
    assert "Untagged" not in declined.stdout
    assert set(firkin.run("ls-tags", repository).stdout.split()) == {"1", "2", "3"}
    digest = firkin.run("digest", f"{repository}:1").stdout.strip()
    gone = firkin.run("delete", "-f", f"{repository}:1", f"{repository}:absent", check=False)
    assert gone.returncode == 1 and f"No such manifest: {repository}:absent" in gone.stderr
    assert gone.stdout == f"Untagged: {repository}:1\nUntagged: {repository}:2\nDeleted: {repository}@{digest}\n"
    assert firkin.run("ls-tags", repository).stdout.split() == ["3"]
    assert "Deleted: " in firkin.run("delete", f"{repository}:3").stdout
