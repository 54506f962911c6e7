"""Commands other than `build`, on one store and a real registry, as root and as an ordinary user."""

import hashlib
import io
import json
import re
import shlex
import subprocess
import tarfile
from pathlib import Path

import pytest
from support.accounts import Firkin
from support.registry import Registry

pytestmark = pytest.mark.registry


@pytest.fixture
def built(firkin: Firkin) -> Firkin:
    """A firkin whose store holds app:1, made of files only."""
    context = firkin.directory("context")
    (context / "hello").write_text("hello\n")
    (context / "Dockerfile").write_text("FROM scratch\nCOPY hello /hello\nENV A=b\n")
    firkin.account.give(context)
    firkin.run("build", "-t", "app:1", context)
    return firkin


def test_images_tag_inspect_and_rmi(built: Firkin) -> None:
    built.run("tag", "app:1", "other.example/team/app:2")
    lines = [line.split()[:3] for line in built.run("images").stdout.splitlines()[1:]]
    assert [line[:2] for line in lines] == [["app", "1"], ["other.example/team/app", "2"]]
    assert lines[0][2] == lines[1][2]
    (document,) = json.loads(built.run("inspect", "app:1").stdout)
    assert document["RepoTags"] == ["app:1", "other.example/team/app:2"]
    assert document["Config"]["Env"][-1] == "A=b"
    digest = document["Descriptor"]["digest"]
    assert built.run("images", "-q").stdout.split() == [document["Id"][7:19]] * 2
    raw = built.run("inspect", "--raw", "manifest", digest[:19]).stdout
    assert json.loads(raw)["config"]["digest"] == document["Id"]
    assert built.run("images", "--no-trunc").stdout.count(document["Id"]) == 2
    for name in ("app", "app:1", "docker.io/library/app", "docker.io/library/app:1"):
        assert built.run("images", "-q", "-a", name).stdout.split() == [document["Id"][7:19]]
    assert built.run("images", "-q", "app:2").stdout == ""
    built.run("rmi", "app:1")
    assert [json.loads(line)["tag"] for line in built.run("images", "--json").stdout.splitlines()] == ["2"]
    built.run("rmi", digest)
    assert built.run("images", "-q").stdout == ""
    result = built.run("rmi", "app:1", check=False)
    assert result.returncode == 1 and "No such image: app:1" in result.stderr
    assert "No such image: app:1" in built.run("rmi", "-f", "app:1").stderr


def test_ids_of_a_format_are_those_of_quiet_trap_15(built: Firkin) -> None:
    for options in ((), ("--no-trunc",)):
        quiet = built.run("images", "-q", *options).stdout
        assert quiet == built.run("images", "--format", "{{.ID}}", *options).stdout
        assert len(quiet.strip()) == (71 if options else 12)


def test_an_image_of_no_time_trap_19(built: Firkin) -> None:
    """As reproducible builders make them: without a time, or with Go's zero."""
    archive = built.directory("archives") / "timeless.tar"
    for name, created in (("absent", {}), ("zero", {"created": "0001-01-01T00:00:00Z"})):
        config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}
        manifest = [{"Config": "c.json", "RepoTags": [f"{name}:1"], "Layers": []}]
        with tarfile.open(archive, "w") as tar:
            for path, document in (("c.json", {**config, **created, "history": [{**created, "empty_layer": True}]}), ("manifest.json", manifest)):
                data = json.dumps(document).encode()
                member = tarfile.TarInfo(path)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        built.account.give(archive.parent)
        built.run("load", "-i", archive)
        shown = built.run("images", "--format", "{{.CreatedSince}}|{{.CreatedAt}}", name).stdout
        assert shown == "N/A|N/A\n"
        assert built.run("history", "--format", "{{.CreatedSince}}", f"{name}:1").stdout == "N/A\n"
        assert built.run("inspect", "-f", "{{.Created}}", f"{name}:1").stdout in ("\n", "0001-01-01T00:00:00Z\n")


def test_a_reader_that_leaves_is_no_error_and_the_locale_changes_nothing_trap_35(built: Firkin) -> None:
    for words in (("images",), ("images", "--format", "json"), ("history", "app:1"), ("inspect", "app:1")):
        script = f"{shlex.join(map(str, built.command(*words)))} | head -c 1 >/dev/null; echo ${{PIPESTATUS[0]}}"
        told = built.account.run(
            ["bash", "-c", script], env=built.environment(), capture_output=True, text=True, cwd="/"
        )
        assert told.stdout.strip() in ("0", "1", "141") and "Traceback" not in told.stderr
    plain = built.run("images").stdout
    environment = {**built.environment(), "LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8"}
    told = built.account.run(built.command("images"), env=environment, capture_output=True, text=True, cwd="/")
    assert told.stdout.split()[-1] == plain.split()[-1]


def test_an_id_means_the_same_to_every_command(built: Firkin) -> None:
    context = built.place / "context"
    built.run("build", "-t", "app:zstd", "-o", "type=image,compression=zstd,force-compression=true", context)
    built.run("build", "-t", "multi:1", "--platform", "linux/amd64,linux/arm64", context)
    documents = {name: json.loads(built.run("inspect", name).stdout)[0] for name in ("app:1", "app:zstd", "multi:1")}
    ids = {document["Id"] for document in documents.values()}
    assert ids == {json.loads(built.run("inspect", name).stdout)[0]["Id"] for name in ("app:1", "multi:1")}
    platform = "linux/arm64" if documents["app:1"]["Architecture"] == "amd64" else "linux/amd64"
    ids.add(json.loads(built.run("inspect", "--platform", platform, "multi:1").stdout)[0]["Id"])
    manifests = {part["ID"] for document in documents.values() for part in document["Manifests"]}
    roots = {document["Descriptor"]["digest"] for document in documents.values()}
    for number, digest in enumerate((*ids, *manifests, *roots)):
        for text in (digest, digest.removeprefix("sha256:"), digest[:20]):
            (document,) = json.loads(built.run("inspect", text).stdout)
            assert digest in (document["Id"], document["Descriptor"]["digest"])
        built.run("tag", digest, f"by-id:{number}")
        built.run("save", "--format", "oci", "-o", built.place / "saved.tar", digest)
        built.run("rmi", f"by-id:{number}")
    for digest in ids:
        built.run("rmi", "-f", digest)
    assert built.run("images", "-q").stdout == ""


def test_a_digest_is_never_taken_for_a_name(built: Firkin, registry: Registry) -> None:
    """No command asks a registry for `library/sha256`, and nothing gets such a name."""
    absent = "sha256:" + "0" * 64
    for words in (("pull", absent), ("push", "app:1", absent), ("tag", "app:1", "sha256:abc"), ("push", absent[7:])):
        result = built.run(*words, check=False)
        assert result.returncode == 1, result.stderr
    context = built.place / "context"
    for wanted in (absent, absent[7:], "sha256:abcdef"):
        result = built.run("build", "--verify", wanted, context, check=False)
        assert (result.returncode, f"No such image: {wanted}" in result.stderr) == (2, True), result.stderr
    result = built.run("build", "-t", "sha256:abc", context, check=False)
    assert result.returncode == 2 and "cannot be a name" in result.stderr
    (document,) = json.loads(built.run("inspect", "app:1").stdout)
    result = built.run("push", document["Id"], check=False)
    assert result.returncode == 1 and "does not say where to push" in result.stderr


def test_push_then_pull_into_another_store(built: Firkin, registry: Registry) -> None:
    name = registry.reference(f"commands/{built.account.name}:1")
    said = built.run("push", "app:1", name)
    raw = registry.get(f"commands/{built.account.name}/manifests/1")
    digest = "sha256:" + hashlib.sha256(raw).hexdigest()
    (diff_id,) = registry.config(f"commands/{built.account.name}:1")["rootfs"]["diff_ids"]
    layer, last = diff_id[7:19], f"1: digest: {digest} size: {len(raw)}\n"
    head = f"The push refers to repository [{name.removesuffix(':1')}]\n{layer}: Preparing\n"
    assert (said.stdout, said.stderr) == (f"{head}{layer}: Pushed\n{last}", "")
    assert built.run("push", "app:1", name).stdout == f"{head}{layer}: Layer already exists\n{last}"
    assert built.run("push", "-q", "app:1", name).stdout == f"{name}\n"
    other = registry.reference(f"commands/other-{built.account.name}:1")
    assert f"{layer}: Mounted from commands/{built.account.name}\n" in built.run("push", "app:1", other).stdout
    elsewhere = ["--root", str(built.place / "elsewhere")]
    said = built.run("pull", *elsewhere, name).stdout.splitlines()
    assert said[-3:] == [f"Digest: {digest}", f"Status: Downloaded newer image for {name}", name]
    (document,) = json.loads(built.run("inspect", *elsewhere, name).stdout)
    assert document["Descriptor"]["digest"] == digest and document["RepoTags"] == [name]
    built.run("save", *elsewhere, "-o", built.place / "app.tar", name)
    with tarfile.open(built.place / "app.tar") as archive:
        manifest = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert manifest[0]["RepoTags"] == [name]
    # An image of the store is a base like any other, and needs no registry.
    context = built.directory("child")
    (context / "Dockerfile").write_text(f"FROM {name}\nCOPY --from={name} /hello /again\n")
    built.run("build", *elsewhere, "-o", built.place / "out", context)
    assert (built.place / "out/again").read_text() == "hello\n"


def test_layers_on_their_way_are_shown(firkin: Firkin, registry: Registry) -> None:
    base = registry.reference("library/busybox:latest")
    said = firkin.run("pull", base)
    digest = "sha256:" + hashlib.sha256(registry.get("library/busybox/manifests/latest")).hexdigest()
    (layer,) = (layer["digest"][7:19] for layer in registry.manifest("library/busybox:latest")["layers"])
    assert (said.stdout, said.stderr) == (
        f"latest: Pulling from library/busybox\n{layer}: Pulling fs layer\n{layer}: Pull complete\n"
        f"Digest: {digest}\nStatus: Downloaded newer image for {base}\n{base}\n", ""
    )  # fmt: skip
    assert firkin.run("pull", base.removesuffix(":latest")).stdout == (
        f"Using default tag: latest\nlatest: Pulling from library/busybox\n"
        f"Digest: {digest}\nStatus: Image is up to date for {base}\n{base}\n"
    )
    name = registry.reference(f"moving/{firkin.account.name}:1")
    events = firkin.run("push", "--progress", "json", base, name).stdout.splitlines()
    kinds = [json.loads(line)["event"] for line in events]
    assert kinds[:2] == ["planned", "started"] and kinds[-1] == "finished" and "progress" in kinds
    assert json.loads(events[-1])["detail"] == digest
    quiet = firkin.run("pull", "-q", base)
    assert (quiet.stdout, quiet.stderr) == (f"{base}\n", "")


def test_save_is_read_by_others(built: Firkin) -> None:
    built.run("save", "--format", "oci-dir", "-o", built.place / "layout", "app:1")
    told = subprocess.run(["skopeo", "inspect", "--raw", f"oci:{built.place}/layout"], capture_output=True, check=True)
    (document,) = json.loads(built.run("inspect", "app:1").stdout)
    assert json.loads(told.stdout)["config"]["digest"] == document["Id"]
    with open(built.place / "app.tar", "wb") as out:
        built.account.run(built.command("save", "app:1"), stdout=out, env=built.environment(), capture_output=False,
                          check=True, text=False, errors=None)  # fmt: skip
    subprocess.run(["skopeo", "inspect", f"docker-archive:{built.place}/app.tar"], capture_output=True, check=True)


def test_prune_frees_what_no_image_needs(built: Firkin) -> None:
    context = built.place / "context"
    (context / "hello").write_text("other\n")
    built.run("build", "-t", "app:1", context)
    before = len(list((built.store / "oci/blobs/sha256").iterdir()))
    told = built.run("prune", "--dry-run").stdout
    assert told.startswith("would remove ")
    pruned = built.run("prune", "--older-than", "1h")
    assert pruned.stdout == "removed nothing, 0B\n"
    spared = pruned.stderr.splitlines()
    assert any(re.fullmatch(r"spared 2 layers: of use in the last 1h, or to a build that runs", line) for line in spared)
    assert any(re.fullmatch(r"spared 6 blobs, .*: part of an image", line) for line in spared)
    used = json.loads(built.run("info", "--json").stdout)["used_bytes"]
    taken = json.loads(built.run("du", "--json").stdout)
    assert 0 < used <= taken["size_bytes"] and taken["kinds"]["blob"]["count"] >= 3
    assert built.run("du").stdout.splitlines()[0].split() == ["KIND", "COUNT", "SIZE", "RECLAIMABLE"]
    built.run("rmi", "app:1")
    assert built.run("images", "-a").stdout.count("<none>") == 2, "the image that lost its name to the second build"
    assert len(list((built.store / "oci/blobs/sha256").iterdir())) <= before


def test_info_names_the_way_and_what_is_missing(firkin: Firkin) -> None:
    document = json.loads(firkin.run("info", "--json").stdout)
    assert document["uid"] == firkin.account.uid and document["root"] == str(firkin.store)
    assert document["isolation"].startswith("overlay + namespaces")
    for way in document["ways"]:
        assert way["available"] or way["detail"]
    text = firkin.run("info").stdout
    assert " Builds run with: overlay + namespaces" in text
    assert " Steps share: the network of this machine" in text and isinstance(document["landlock"], int)


def test_the_store_stays_where_it_is_told_to(firkin: Firkin) -> None:
    firkin.run("images")
    assert not Path(firkin.home / ".local/share/firkin").exists()


def test_every_event_belongs_to_a_vertex_that_was_planned(firkin: Firkin, registry: Registry) -> None:
    context = firkin.directory("context")
    (context / "Dockerfile").write_text("FROM busybox\nCOPY Dockerfile /\n")
    firkin.account.give(context)
    events = [json.loads(line) for line in firkin.run("build", "--progress=json", context).stdout.splitlines()]
    planned = {vertex["id"]: vertex for event in events for vertex in event.get("vertices", ())}
    assert {event["id"] for event in events if "id" in event} <= set(planned)
    moved = [event for event in events if event["event"] == "progress" and event["current"] == event["total"]]
    assert len(moved) == 1  # the base is looked into and kept in one pass
    (context / "Dockerfile").write_text("FROM busybox\nENV A=b\n")
    other = firkin.run("build", "--root", firkin.place / "other", "--progress=plain", context).stderr
    assert "#1 [1/1] FROM docker.io/library/busybox" in other and "\n#1 sha256:" in other and "fetching" not in other
    refused = firkin.run("build", "--push", "-t", "localhost:1/app", context, check=False)
    assert refused.returncode == 4
    assert refused.stderr.count("ERROR: cannot look for `localhost:1/app:latest`: `localhost:1` cannot be reached") == 1


def test_several_platforms(firkin: Firkin) -> None:
    context = firkin.directory("context")
    (context / "Dockerfile").write_text("FROM scratch AS files\nCOPY Dockerfile /\n")
    firkin.account.give(context)
    told = firkin.place / "told"
    words = ["build", "--platform=linux/amd64,linux/arm64", "-t", "many:1", "--metadata-file", told / "metadata"]
    firkin.run("build", "-q", context)  # makes the store, and what goes there its owner's
    told.mkdir()
    firkin.account.give(told)
    result = firkin.run(*words, "--no-cache", context)
    assert "#1 [linux/amd64 1/1] COPY Dockerfile /\n" in result.stderr
    assert "#2 [linux/arm64 1/1] COPY Dockerfile /\n" in result.stderr
    (document,) = json.loads(firkin.run("inspect", "many:1").stdout)
    index = firkin.run("inspect", "--raw", "manifest", "many:1").stdout
    metadata = json.loads((told / "metadata").read_text())
    assert metadata["containerimage.descriptor"]["size"] == len(index) and "containerimage.config.digest" not in metadata
    parts = [part["ImageData"]["Platform"]["architecture"] for part in document["Manifests"]]
    root = document["Descriptor"]["digest"]
    assert parts == ["amd64", "arm64"]
    assert firkin.run(*words, "-q", context).stdout.strip() == root == metadata["containerimage.digest"]
    verified = firkin.run("build", "--platform=linux/amd64,linux/arm64", "--verify", "many:1", context)
    assert verified.stdout.count("is built as") == 2 and "#2 [linux/arm64 1/1]" in verified.stderr


@pytest.mark.parametrize("instruction", ["COPY Dockerfile /x", "WORKDIR /new", "LABEL a=b"])
def test_a_base_is_fetched_under_its_own_line_and_cached_when_it_is_here(
    firkin: Firkin, registry: Registry, instruction: str
) -> None:
    context = firkin.directory("context")
    (context / "Dockerfile").write_text(f"FROM busybox AS base\n{instruction}\n")
    firkin.account.give(context)

    def events() -> list[dict]:
        result = firkin.run("build", "--progress", "json", context)
        return [json.loads(line) for line in result.stdout.splitlines()]

    first = events()
    titles = {vertex["id"]: vertex["title"] for event in first if event["event"] == "planned"
              for vertex in event["vertices"]}  # fmt: skip
    (base,) = [id for id, title in titles.items() if title.startswith("FROM")]
    moved = [event for event in first if event["event"] == "progress"]
    assert moved and {event["id"] for event in moved} == {base}
    assert moved[-1]["current"] == moved[-1]["total"] > 100_000
    statuses = [event["status"] for event in first if event["event"] == "finished" and event["id"] == base]
    assert statuses == ["done", "done"]
    again = events()
    assert [event["status"] for event in again if event["event"] == "finished" and event["id"] == base] == ["cached"]
    assert not any(event["event"] == "progress" for event in again)
