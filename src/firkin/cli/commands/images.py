"""`firkin images`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/image/list.go."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from firkin.cli.arguments import Arguments
from firkin.cli.command import Invocation
from firkin.cli.docker_config import read_docker_config
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_out
from firkin.cli.store import open_store, say
from firkin.errors import StoreError, UsageError
from firkin.images.list import Listed, Wanted, choose_images, list_images
from firkin.images.names import NONE, familiar, repository_and_tag
from firkin.render.rows import rows_text
from firkin.render.units import ago, go_time, short_id, size3

USAGE = "[OPTIONS] [REPOSITORY[:TAG]]"
ABOUT = (
    "List the images in the store, newest first: a line for each tag. SIZE is what the layers unpack to. "
    "An image that was replaced under its name is listed as `<none>`."
)
OPTIONS = (
    Option(("--all", "-a"), "all", "flag", "show all images; nothing is hidden without it", takes_value=False),
    Option(("--digests",), "digests", "flag", "show the digests that images have in registries", takes_value=False),
    Option(("--filter", "-f"), "filter", "many",
           "show those that fit: dangling=, label=, label!=, before=, since=, until=, reference=", "KEY=VALUE"),
    Option(("--format",), "format", "text", "`table`, `table TEMPLATE`, `json`, `raw`, or a Go template", "FORMAT"),
    Option(("--no-trunc",), "no_trunc", "flag", "print whole ids", takes_value=False),
    Option(("--quiet", "-q"), "quiet", "flag", "print ids only", takes_value=False),
    Option(("--tree",), "", "refused", "platforms are not listed as a tree; `--json` lists those of each image",
           takes_value=False),
    Option(("--json",), "json", "flag", "print one JSON object a line, with exact numbers", takes_value=False),
    Option(("--names",), "names", "flag", "print names only", takes_value=False),
    *COMMON,
)  # fmt: skip

_KEYS = ("dangling", "label", "label!", "before", "since", "until", "reference")
_FIELDS = {
    "ID": "IMAGE ID", "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT", "Size": "SIZE", "Containers": "CONTAINERS", "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
}  # fmt: skip
_TABLE = "{{.Repository}}\\t{{.Tag}}\\t{{.ID}}\\t{{.CreatedSince}}\\t{{.Size}}"
_WITH_DIGEST = "{{.Repository}}\\t{{.Tag}}\\t{{.Digest}}\\t{{.ID}}\\t{{.CreatedSince}}\\t{{.Size}}"
_RAW = (
    "repository: {{.Repository}}\\ntag: {{.Tag}}\\n%simage_id: {{.ID}}\\ncreated_at: {{.CreatedAt}}\\n"
    "virtual_size: {{.Size}}\\n"
)
_OWN, _UNKNOWN = "own", "N/A"
_MISTAKEN = ("ls", "list", "rm", "inspect", "pull", "push", "prune", "build", "tag")


class Row(NamedTuple):
    """One name of one image; `repository` and `tag` in their short spelling, `<none>` for what is not there."""

    repository: str
    tag: str
    digest: str
    image: Listed


def run(invocation: Invocation) -> int:
    """Print a line for each image and name. Raises UsageError, TemplateError."""
    arguments = invocation.arguments
    if len(arguments.operands) > 1:
        raise UsageError("`firkin images` takes one name")
    gc.disable()  # a tenth of the time, and of a thousand images nothing becomes garbage
    now_s = time.time()
    wanted = _wanted(arguments, now_s)
    form = _OWN if arguments.flag("json") or arguments.flag("names") else _format(invocation)
    store, _ = open_store(invocation)
    with store:
        exact = arguments.flag("json")
        every = list_images(
            store, _warn, sizes=exact or _needs(form, "Size"), details=exact or wanted.labels_fit is not None
        )
        images = choose_images(store, every, wanted)
    if form is _OWN:
        write_out("".join(_own_lines(images, as_json=arguments.flag("json"))))
    else:
        digests = arguments.flag("digests")
        rows = rows_of(images, all_digests=digests, with_digest=digests or "{{.Digest}}" in form)
        look = Look(now_s, arguments.flag("no_trunc"), _needs(form, "CreatedAt"))
        shown = (_shown(row, look) for row in rows)
        write_out(rows_text(form, _FIELDS, shown, _TABLE))
    if not images and arguments.operands and arguments.operands[0] in _MISTAKEN:
        say(f"hint: `{arguments.operands[0]}` is taken for the name of an image; did you mean "
            f"`firkin image {arguments.operands[0]}`?")  # fmt: skip
    return 0


def _needs(form: str, field: str) -> bool:
    """Say whether a format may show a field; what costs time is made only then."""
    rest = form
    for name in _FIELDS:
        rest = rest.replace(f"{{{{.{name}}}}}", "")
    return f".{field}" in form or "{{" in rest or form == "json"


def _own_lines(images: Iterable[Listed], *, as_json: bool) -> Iterator[str]:
    if not as_json:
        yield from (f"{familiar(name)}\n" for image in images for name in image.names)
        return
    import msgspec

    for row in rows_of(images, all_digests=False, with_digest=True):
        yield f"{msgspec.json.encode(_document(row)).decode()}\n"


def _wanted(arguments: Arguments, now_s: float) -> Wanted:
    if not arguments.given("filter"):
        return Wanted(arguments.operands)
    from firkin.cli.filters import parse_filters

    filters = parse_filters(arguments.many("filter"), _KEYS)
    labelled = filters.of("label") or filters.of("label!")
    return Wanted(
        (*filters.of("reference"), *arguments.operands), filters.flag("dangling"),
        filters.labels_fit if labelled else None, filters.of("before"), filters.of("since"), filters.before_s(now_s),
    )  # fmt: skip


def _format(invocation: Invocation) -> str:
    """Return the format with its template. Mirrors: docker/cli formatter NewImageFormat, ImageWrite."""
    arguments = invocation.arguments
    quiet, digests = arguments.flag("quiet"), arguments.flag("digests")
    form = arguments.text("format")
    if not form and not quiet:
        form = read_docker_config(invocation.ambient).format("images", form)
    if form == "raw":
        return "image_id: {{.ID}}" if quiet else _RAW % ("digest: {{.Digest}}\\n" if digests else "")
    if form in ("", "table"):
        return "{{.ID}}" if quiet else f"table {_WITH_DIGEST if digests else _TABLE}"
    if form.startswith("table ") and digests and "{{.Digest}}" not in form:
        return f"{form}\\t{{{{.Digest}}}}"
    return form


def rows_of(images: Iterable[Listed], *, all_digests: bool, with_digest: bool) -> Iterator[Row]:
    """Yield a row for each repository and tag, and with `with_digest` for each digest; then those of digests alone.

    Of a repository without a tag one row is enough, unless `all_digests`. Mirrors: docker/cli formatter imageFormat.
    """
    for image in images:
        if image.is_dangling:
            yield Row(NONE, NONE, NONE, image)
        tags = _by_repository(image.names)
        digests = _by_repository(image.digests)
        for repository in sorted(tags):
            known = digests.get(repository, [NONE]) if with_digest else [NONE]
            for tag in sorted(tags[repository]):
                yield from (Row(repository, tag, digest, image) for digest in known)
        for repository in sorted(digests.keys() - tags.keys()):
            known = digests[repository] if all_digests else digests[repository][:1]
            yield from (Row(repository, NONE, digest, image) for digest in known)


def _by_repository(names: Iterable[str]) -> dict[str, list[str]]:
    """Return tags or digests by the short spelling of their repository."""
    found: dict[str, list[str]] = {}
    for name in names:
        repository, tag = repository_and_tag(name)
        found.setdefault(repository, []).append(name.rpartition("@")[2] if "@" in name else tag)
    return found


class Look(NamedTuple):
    """How values are shown: `whole` ids; `times`: the absolute time is wanted."""

    now_s: float
    whole: bool
    times: bool


def _shown(row: Row, look: Look) -> dict[str, str]:
    image = row.image
    made = image.created_s
    return {
        "ID": image.id if look.whole else short_id(image.id),
        "Repository": row.repository,
        "Tag": row.tag,
        "Digest": row.digest,
        "CreatedSince": _UNKNOWN if made is None else ago(look.now_s - made),
        "CreatedAt": _UNKNOWN if made is None or not look.times else go_time(made),
        "Size": _UNKNOWN if image.size_bytes < 0 else size3(image.size_bytes),
        "Containers": _UNKNOWN,
        "SharedSize": _UNKNOWN,
        "UniqueSize": _UNKNOWN,
    }


def _document(row: Row) -> dict[str, object]:
    image = row.image
    return {
        "repository": row.repository,
        "tag": row.tag,
        "id": image.id,
        "digest": image.root.digest,
        "repo_digest": "" if row.digest == NONE else row.digest,
        "created": image.created,
        "size_bytes": image.compressed_bytes,
        "unpacked_bytes": None if image.size_bytes < 0 else image.size_bytes,
        "platforms": image.platforms,
    }


def _warn(digest: str, error: StoreError) -> None:
    say(f"warning: {digest}: {error.message} ({error.code})")
