"""Files that an executor writes after a build: digests and names. Does I/O. Only `cli.kaniko.executor` imports it."""

from __future__ import annotations

import os

from firkin.ambient import Ambient, absolute
from firkin.builder.request import BuildRequest, BuildResult
from firkin.cli.kaniko.parse import Values
from firkin.errors import UsageError
from firkin.oci.reference import Reference, parse_reference
from firkin.registry.settings import RegistrySettings


def write_results(flags: Values, ambient: Ambient, request: BuildRequest, result: BuildResult) -> None:
    """Write the digest files and $BUILDER_OUTPUT/images; raises UsageError, RegistryError."""
    digest = result.image.digest
    names = [parse_reference(text) for text in request.tags]
    texts = {
        "digest-file": digest,
        "image-name-with-digest-file": "".join(f"{repository_name(name)}@{digest}\n" for name in names),
        "image-name-tag-with-digest-file": "".join(
            f"{repository_name(name)}:{name.tag}@{digest}\n" for name in names
        ),
    }
    for flag, text in texts.items():
        if flags.text(flag):
            write_digest_file(f"--{flag}", flags.text(flag), text, ambient.cwd, request.registry)
    directory = ambient.environ.get("BUILDER_OUTPUT", "")
    if directory and not flags.flag("no-push"):
        _write_images(directory, request.tags, digest)


def repository_name(name: Reference) -> str:
    """Return `registry/repository`; Docker Hub's registry is spelt as in Go's libraries."""
    registry = "index.docker.io" if name.registry == "docker.io" else name.registry
    return f"{registry}/{name.repository}"


def write_digest_file(flag: str, place: str, text: str, cwd: str, settings: RegistrySettings) -> None:
    """Write a file and make its directories, or PUT the text to an https URL. Raises UsageError."""
    if place.startswith("https://"):
        _put(flag, place, text, settings)
        return
    from firkin.linux.files import open_special

    path = absolute(cwd, place)
    try:
        # As in Kaniko, directories are 0700, and the file is 0644 and written in place: it may be a device or a mount.
        _make_directory(os.path.dirname(path))
        with open(open_special(path), "wb") as file:
            file.write(text.encode())
    except OSError as error:
        raise UsageError(f"flag `{flag}`: cannot write {place}: {(error.strerror or '').lower()}") from error


def _make_directory(path: str) -> None:
    if path and not os.path.exists(path):
        _make_directory(os.path.dirname(path))
        os.mkdir(path, 0o700)


def _put(flag: str, url: str, text: str, settings: RegistrySettings) -> None:
    from firkin.registry.protocol import response_error
    from firkin.registry.transport import Transport, upload_of
    from firkin.registry.url import split_url

    transport = Transport(settings)
    try:
        exchange = transport.open(
            "PUT", split_url(url), (("Content-Type", "text/plain"),), upload_of(text.encode())
        )
        if not 200 <= exchange.status < 300:
            raise response_error(f"flag `{flag}`: the server did not take the digest", exchange.response())
        exchange.close()
    finally:
        transport.close()


def _write_images(directory: str, names: tuple[str, ...], digest: str) -> None:
    import msgspec

    lines = b"".join(msgspec.json.encode({"name": name, "digest": digest}) + b"\n" for name in names)
    try:
        with open(f"{directory.rstrip('/')}/images", "wb") as file:
            file.write(lines)
    except OSError as error:
        why = (error.strerror or "").lower()
        raise UsageError(f"BUILDER_OUTPUT: cannot write {directory}/images: {why}") from error
