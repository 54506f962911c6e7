"""`firkin copy`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import msgspec

from firkin.ambient import absolute
from firkin.cli.arguments import Arguments
from firkin.cli.command import Invocation
from firkin.cli.moving import Moving, progress_name
from firkin.cli.options import COMMON, PROGRESS, REGISTRY, Option
from firkin.cli.run import write_out
from firkin.cli.sides import SIDES, Sides, open_sides, platforms_of
from firkin.cli.store import with_interrupts
from firkin.errors import UsageError
from firkin.images.copy.convert import ANY, Form
from firkin.images.copy.copying import Copied, Job, Work, copy_image
from firkin.images.copy.opening import settled
from firkin.images.copy.places import Place, parse_place
from firkin.images.copy.plan import Extent, Selection
from firkin.images.names import read_tag
from firkin.linux.files import write_beside
from firkin.linux.machine import this_platform
from firkin.oci.media import Compression, Family
from firkin.oci.reference import Reference, parse_reference
from firkin.tasks.cancel import Cancel

USAGE = "[OPTIONS] SOURCE DESTINATION"
ABOUT = (
    "Copy an image between registries, archives, layouts and the store, without unpacking it: `NAME` or "
    "`docker://NAME` in a registry, `docker-archive:PATH[:NAME|:@N]`, `oci:DIR[:REF|:@N]`, "
    "`oci-archive:PATH[:REF|:@N]`, `dir:DIR`, `store:NAME`. An image for several platforms is copied as a whole. "
    "Prints what was written, with its digest."
)
_MAP = {"oci": "oci", "v2s2": "docker"}
OPTIONS = (
    Option(("--all", "-a"), "all", "flag", "copy every platform (the default)"),
    Option(("--multi-arch",), "multi_arch", "choice", "all: every platform · system: the image for this machine · "
           "index-only: the index alone", "all|system|index-only", (), ("all", "system", "index-only")),
    Option(("--platform",), "platform", "many", "copy the image for this platform, or an index of several",
           "OS/ARCH[/VARIANT],..."),
    Option(("--format", "-f"), "format", "choice", "write manifests in this format", "oci|v2s2", (), ("oci", "v2s2")),
    Option(("--preserve-digests",), "preserve_digests", "flag", "fail rather than change a digest"),
    Option(("--digestfile",), "digestfile", "text", "write the digest to FILE", "FILE"),
    Option(("--additional-tag",), "additional_tag", "many", "give the copy this name as well", "NAME[:TAG]"),
    Option(("--dest-compress-format",), "compress_format", "choice", "compress layers in this way", "gzip|zstd", (),
           ("gzip", "zstd")),
    Option(("--dest-compress-level",), "compress_level", "count", "how hard to compress them", "N"),
    Option(("--dest-compress",), "compress", "flag", "compress layers that are not"),
    Option(("--dest-force-compress-format",), "force_compress", "flag",
           "compress those again that have this compression"),
    Option(("--dest-decompress",), "decompress", "flag", "write layers uncompressed"),
    Option(("--all-tags",), "all_tags", "flag", "copy every tag of a repository to another repository"),
    Option(("--no-clobber", "-n"), "no_clobber", "flag", "leave names as they are that exist in the destination"),
    Option(("--retry-times",), "retry_times", "count", "try the whole copy again, up to N times", "N"),
    Option(("--image-parallel-copies", "--jobs", "-j"), "registry_parallel", "count", "move up to N blobs at a time",
           "N"),
    Option(("--authfile",), "auth_file", "many", "look for credentials in FILE first", "FILE"),
    Option(("--retry-delay",), "", "ignored", "the time between attempts doubles from a second"),
    Option(("--remove-signatures",), "", "ignored", "signatures are never copied"),
    Option(("--dest-precompute-digests",), "", "ignored", "digests are known"),
    Option(("--dest-oci-accept-uncompressed-layers",), "", "ignored", "layers stay as they are"),
    *(Option((flag,), "", "refused", "nothing is signed here: `cosign` signs pushed images") for flag in
      ("--sign-by", "--sign-by-sigstore", "--sign-by-sigstore-private-key", "--sign-passphrase-file")),
    *(Option((flag,), "", "refused", "layers are neither encrypted nor decrypted")
      for flag in ("--encryption-key", "--encrypt-layer", "--decryption-key")),
    *SIDES,
    *PROGRESS,
    *REGISTRY,
    *COMMON,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Copy one image, or those of all tags. Raises UsageError."""
    arguments = invocation.arguments
    if len(arguments.operands) != 2:
        raise UsageError("`firkin copy` needs a source and a destination")
    source, target = map(parse_place, arguments.operands)
    if arguments.flag("all_tags"):
        _check_repositories(arguments, source, target)
    job = _job(arguments, source, target)

    def work(cancel: Cancel) -> int:
        written = []
        with open_sides(invocation, cancel) as sides:
            name = progress_name(arguments, sides.settings, invocation.ambient.environ)
            with Moving(name, "Copying") as moving:
                sides.warn = moving.warn
                for origin, goal in _pairs(sides, arguments, source, target):
                    with moving.line(f"copy {goal}", f"copying {origin} to {goal}") as line:
                        several = Work(cancel, sides.settings.registry.parallel, moving.wait, line, sides.store)
                        copied = _copy(sides, origin, goal, job, several, arguments.count("retry_times"))
                        line.detail = copied.digest
                    _tell(copied, moving)
                    written.append((goal, copied.digest))
        if arguments.given("digestfile"):
            text = "\n".join(digest for _, digest in written)
            write_beside(absolute(invocation.ambient.cwd, arguments.text("digestfile")), text.encode())
        if not moving.as_json and target.path != "-":
            write_out("".join(f"{_canonical(goal)}@{digest}\n" for goal, digest in written))
        return 0

    return with_interrupts(work)


def _check_repositories(arguments: Arguments, source: Place, target: Place) -> None:
    for place in (source, target):
        if place.transport != "docker" or (name := parse_reference(place.name, default_tag="")).tag or name.digest:
            raise UsageError(f"`--all-tags` copies between repositories, and `{place.name or place}` is none",
                             hints=("name both without a tag",))  # fmt: skip
    if arguments.given("additional_tag"):
        raise UsageError("`--all-tags` and `--additional-tag` exclude one another")


def _pairs(sides: Sides, arguments: Arguments, source: Place, target: Place) -> Iterator[tuple[Place, Place]]:
    """Yield what is copied where: one image, or that of each tag; with `--no-clobber` new names only."""
    pairs = [(source, target)]
    if arguments.flag("all_tags"):
        tags = sides.client(source, "src").list_tags(source.reference, mirrors=True)
        pairs = [(Place("docker", name=f"{source.name}:{tag}"), Place("docker", name=f"{target.name}:{tag}"))
                 for tag in tags]  # fmt: skip
    for origin, goal in pairs:
        if not (arguments.flag("no_clobber") and _exists(sides, goal)):
            yield origin, goal


def _exists(sides: Sides, target: Place) -> bool:
    if target.transport == "docker":
        return sides.client(target, "dest").manifest_digest(target.reference) is not None
    if target.transport == "store":
        return sides.store().images.find(read_tag(target.name)) is not None
    raise UsageError(f"`--no-clobber` is about names in registries and the store, not about `{target}`")


def _copy(sides: Sides, source: Place, target: Place, job: Job, work: Work, retries: int) -> Copied:
    def once() -> Copied:
        with sides.opener(source, "src").source(source) as origin, sides.opener(target, "dest").target(target) as goal:
            return copy_image(origin, goal, job, work)

    if not retries:
        return once()
    side = sides.client(target, "dest") if target.transport == "docker" else sides.client(source, "src")
    return side.repeat(retries, once)


def _job(arguments: Arguments, source: Place, target: Place) -> Job:
    exact = arguments.flag("preserve_digests")
    selection, form = settled(source, target, _selection(arguments, target), _form(arguments), exact=exact)
    digest = target.reference.digest if target.transport == "docker" else None
    return Job(selection, form, exact, digest, _tags(arguments, target))


def _selection(arguments: Arguments, target: Place) -> Selection:
    whole = arguments.flag("all")
    extent = cast(Extent, arguments.text("multi_arch", "all"))
    platforms = platforms_of(arguments)
    if ((whole or arguments.given("multi_arch")) and platforms) or (whole and extent != "all"):
        raise UsageError("`--all`, `--multi-arch` and `--platform` exclude one another")
    if target.transport == "docker-archive" and (whole or (arguments.given("multi_arch") and extent == "all")):
        raise UsageError("a docker archive holds one platform", hints=("choose one with `--platform`",))
    return Selection(this_platform(), extent, platforms)


def _form(arguments: Arguments) -> Form:
    family = cast(Family, _MAP[arguments.text("format")]) if arguments.given("format") else None
    wanted = cast(Compression, arguments.text("compress_format", "gzip"))
    level = arguments.count("compress_level") if arguments.given("compress_level") else None
    if arguments.flag("decompress"):
        if arguments.given("compress_format") or arguments.flag("compress") or level is not None:
            raise UsageError("`--dest-decompress` excludes options to compress")
        return Form(family, "none")
    if arguments.given("compress_format") or level is not None:
        force = arguments.flag("force_compress") or not arguments.given("compress_format")
        return Form(family, wanted, level, ANY, force)
    return Form(family, "gzip", of=("none",)) if arguments.flag("compress") else Form(family)


def _tags(arguments: Arguments, target: Place) -> tuple[Reference, ...]:
    tags = tuple(map(read_tag, arguments.many("additional_tag")))
    if tags and target.transport == "dir":
        raise UsageError("a directory has no names, so `--additional-tag` has no meaning")
    if target.transport == "docker":
        for tag in tags:
            if tag.name != target.reference.name:
                raise UsageError(f"`{tag}` is in another repository than `{target}`",
                                 hints=("copy it there as well",))  # fmt: skip
    return tags


def _canonical(target: Place) -> str:
    if target.transport != "docker":
        return str(target)
    return str(msgspec.structs.replace(target.reference, digest=None))


def _tell(copied: Copied, moving: Moving) -> None:
    if copied.left_out:
        missing = ", ".join(str(item.platform or item.digest) for item in copied.left_out)
        moving.warn("copy-absent", f"the source does not have {missing}: the copy is an index of what it has, "
                    f"{copied.digest}")  # fmt: skip
    if copied.dropped:
        moving.warn("copy-attestations", f"{len(copied.dropped)} attestations were left out: they are about the "
                    "digests that the images had before")  # fmt: skip
