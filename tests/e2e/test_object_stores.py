"""Contexts in object stores, over real HTTP: S3 (moto), Google's (fake-gcs-server), Azure's (azurite)."""

import io
import tarfile
from collections.abc import Iterator

import pytest
from support.accounts import Firkin
from support.object_stores import (
    S3,
    ObjectStore,
    missing_azure,
    missing_gcs,
    running_azure,
    running_gcs,
    running_s3,
)

pytestmark = pytest.mark.registry


@pytest.fixture(scope="module", params=["s3", "gcs", "azure"])
def objects(request: pytest.FixtureRequest) -> Iterator[ObjectStore]:
    """Each of the stores, with the same archives in it."""
    missing = {"gcs": missing_gcs, "azure": missing_azure}.get(request.param, str)()
    if missing:
        pytest.skip(missing)
    with {"s3": running_s3, "gcs": running_gcs, "azure": running_azure}[request.param]() as store:
        for compression in ("gz", "xz", ""):
            store.put(f"builds/context.tar.{compression or 'plain'}", archive(compression))
        store.put("builds/notes.txt", b"FROM scratch\n" * 100)
        yield store


@pytest.fixture
def s3() -> Iterator[S3]:
    with running_s3() as store:
        yield store


def archive(compression: str) -> bytes:
    """Return a context with a Dockerfile at its top and another one in `sub`."""
    texts = {
        "Dockerfile": "FROM scratch\nCOPY file /top\n",
        "file": "at the top\n",
        "sub/Dockerfile": "FROM busybox\nRUN --mount=target=/c cat /c/file && env && cat /proc/self/environ\n",
        "sub/file": "below\n",
    }
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=f"w:{compression}") as tar:
        for name, text in texts.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return made.getvalue()


@pytest.mark.parametrize("compression", ["gz", "xz", "plain"])
def test_an_archive_is_a_context(objects: ObjectStore, firkin: Firkin, compression: str) -> None:
    address = objects.address(f"builds/context.tar.{compression}")
    firkin.run("build", "-o", "type=tar,dest=out.tar", address, env=objects.environ)
    with tarfile.open(firkin.place / "out.tar") as tar:
        found = tar.extractfile("top")
        assert found is not None and found.read() == b"at the top\n"


def test_credentials_reach_no_step(objects: ObjectStore, firkin: Firkin) -> None:
    address = objects.address("builds/context.tar.gz")
    told = firkin.run(
        "build", "--progress", "plain", "--no-cache", "-f", "sub/Dockerfile", address, env=objects.environ
    )
    everything = told.stdout + told.stderr
    assert "at the top" in everything
    for name, value in objects.environ.items():
        assert name not in everything and value not in everything


def test_what_is_missing_is_named(objects: ObjectStore, firkin: Firkin) -> None:
    for address, says in (
        (objects.address("builds/absent.tar.gz"), "builds/absent.tar.gz does not exist"),
        (objects.address("context.tar.gz", "absent"), "absent"),
        (objects.address("builds/notes.txt"), "is not an archive"),
    ):
        result = firkin.run("build", address, env=objects.environ, check=False)
        assert result.returncode == 1 and says in result.stderr, result.stderr
        assert "Traceback" not in result.stderr and "Debug source" not in result.stderr


def test_wrong_credentials_are_told_and_not_shown(objects: ObjectStore, firkin: Firkin) -> None:
    if not objects.wrong:
        pytest.skip("this store asks for no credentials")
    if isinstance(objects, S3):
        objects.check_credentials(True)
    try:
        wrong = {**objects.environ, **objects.wrong}
        result = firkin.run("build", objects.address("builds/context.tar.gz"), env=wrong, check=False)
    finally:
        if isinstance(objects, S3):
            objects.check_credentials(False)
    assert result.returncode == 1 and "was refused" in result.stderr, result.stderr
    assert not any(value in result.stdout + result.stderr for value in objects.wrong.values())


def test_keys_of_a_profile(s3: S3, firkin: Firkin) -> None:
    s3.put("context.tar.gz", archive("gz"))
    place = firkin.home / ".aws"
    place.mkdir()
    (place / "credentials").write_text("[build]\naws_access_key_id = test\naws_secret_access_key = sesame\n")
    (place / "config").write_text(f"[profile build]\nregion = eu-central-1\nendpoint_url = {s3.url}\n")
    firkin.account.give(place)
    firkin.run("build", "s3://contexts/context.tar.gz", env={"AWS_PROFILE": "build"})
    result = firkin.run("build", "s3://contexts/context.tar.gz", env={"AWS_PROFILE": "other"}, check=False)
    assert result.returncode == 2 and "profile `other`" in result.stderr


def test_an_unreachable_store_is_told(firkin: Firkin) -> None:
    environ = {"S3_ENDPOINT": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    options = ["--registry-retries", "1"]
    result = firkin.run("build", *options, "s3://contexts/context.tar.gz", env=environ, check=False)
    assert result.returncode == 1 and "cannot reach http://127.0.0.1:1" in result.stderr, result.stderr


def test_the_executor_heeds_the_ignore_file(s3: S3, firkin: Firkin) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name in ("top", "sub/Dockerfile", "sub/kept", "sub/secret", "sub/.dockerignore"):
            text = {"Dockerfile": "FROM scratch\nCOPY . /\n", ".dockerignore": "secret\n"}.get(name[4:], name)
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    s3.put("context.tar.gz", made.getvalue())
    options = ["--context", s3.address("context.tar.gz"), "--context-sub-path", "/sub", "--no-push"]
    arguments = [*options, "--tar-path", "image.tar", "--destination", "example.com/app:1"]
    command = firkin.command("executor", *arguments)
    result = firkin.account.run(command, env=firkin.environment(s3.environ), cwd=firkin.place)
    assert result.returncode == 0, result.stdout + result.stderr
    names = set()
    with tarfile.open(firkin.place / "image.tar") as image:
        for member in image.getmembers():
            if member.name.endswith(".tar.gz"):
                with tarfile.open(fileobj=image.extractfile(member)) as layer:
                    names |= set(layer.getnames())
    assert {"kept", "Dockerfile"} <= names and "secret" not in names and "top" not in names, names
