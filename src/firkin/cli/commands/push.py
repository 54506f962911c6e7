"""`firkin push`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from collections.abc import Iterable

from firkin.cli.command import Invocation
from firkin.cli.moving import Screen, progress_name
from firkin.cli.options import COMMON, PROGRESS, REGISTRY, Option
from firkin.cli.several import each
from firkin.cli.store import find_image, open_client, open_store, with_interrupts
from firkin.cli.words import PUSH, LayerLines
from firkin.errors import UsageError
from firkin.images.compressing import to_push
from firkin.images.find import Found
from firkin.images.names import read_reference, read_tag
from firkin.images.outgoing import Outgoing
from firkin.images.progress import Transfer
from firkin.images.push import push_image, tags_of, targets_of
from firkin.linux.machine import this_platform
from firkin.oci.platform import Platform, parse_platform
from firkin.oci.reference import Reference
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel

USAGE = "[OPTIONS] IMAGE [NAME[:TAG]...]"
ABOUT = (
    "Push an image of the store to a registry: under its own name, or under the given names. Of an index that is not "
    "whole here, only what is here goes."
)
OPTIONS = (
    Option(("--all-tags", "-a"), "all_tags", "flag", "push every tag of the repository", takes_value=False),
    Option(("--platform",), "platform", "text", "push the image for this platform alone, without its index",
           "OS/ARCH[/VARIANT]"),
    Option(("--disable-content-trust",), "", "ignored", "firkin has no content trust", takes_value=False),
    *PROGRESS,
    *REGISTRY,
    *COMMON,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Push blobs, manifests, then the tag, for each name. Raises UsageError."""
    arguments = invocation.arguments
    if not arguments.operands:
        raise UsageError("`firkin push` needs an image")
    source, *names = arguments.operands
    references = tuple(map(read_tag, names))
    platform = _platform(arguments.text("platform"))
    repository = _repository(source, references) if arguments.flag("all_tags") else None
    store, settings = open_store(invocation)
    screen = Screen(progress_name(arguments, settings, invocation.ambient.environ), "Pushing")

    def work(cancel: Cancel) -> int:
        with store, open_client(settings, cancel, screen.warn) as client:
            push = _Push(Transfer(store, client, cancel, settings.registry.parallel, screen.wait), screen)
            if repository is not None:
                push.every_tag(repository, platform)
            else:
                found, targets = _chosen(store, screen, source, references)
                push.to(found, platform, targets)
        return 0

    return with_interrupts(work)


def _chosen(
    store: Store, screen: Screen, source: str, references: tuple[Reference, ...]
) -> tuple[Found, tuple[Reference, ...]]:
    try:
        found = find_image(store, source)
    except UsageError as error:
        if error.code == "no-image" and not references:
            _explain_absent(error, store, screen, read_tag(source))
        raise
    targets = targets_of(found, source, references)
    if not references and not read_reference(source, default_tag="").tag:
        screen.say("Using default tag: latest\n")
    return found, targets


def _explain_absent(error: UsageError, store: Store, screen: Screen, target: Reference) -> None:
    """Put docker's words into an error: it looks at the repository first, and begins when that has any tag."""
    try:
        tags_of(store, target)
    except UsageError:
        error.message = f"An image does not exist locally with the tag: {target.familiar.rpartition(':')[0]}"
    else:
        screen.say(f"The push refers to repository [{target.name}]\n")
        error.message = f"tag does not exist: {target.familiar}"


class _Push:
    """Pushes images and says what docker says."""

    def __init__(self, transfer: Transfer, screen: Screen) -> None:
        self._transfer = transfer
        self._screen = screen

    def to(self, found: Found, platform: Platform | None, targets: Iterable[Reference]) -> None:
        """Push one image to several names; what failed is raised at the end."""
        content = self._content(found, platform)

        def one(target: Reference) -> None:
            self._begin(target)
            self._push(content, target)
            self._screen.result(f"{target}\n", quietly=True)

        each(targets, one)

    def every_tag(self, repository: Reference, platform: Platform | None) -> None:
        """Push every tag of a repository; what failed is raised at the end."""
        store = self._transfer.store
        names = tags_of(store, repository)
        self._begin(repository)
        each(names, lambda name: self._push(self._content(find_image(store, str(name)), platform), name))
        self._screen.result(f"{repository.name}\n", quietly=True)

    def _content(self, found: Found, platform: Platform | None) -> Outgoing:
        return to_push(self._transfer, found, platform, lambda: self._screen.line("compress", "compressing layers"))

    def _begin(self, target: Reference) -> None:
        self._screen.say(f"The push refers to repository [{target.name}]\n")

    def _push(self, content: Outgoing, target: Reference) -> None:
        lines = LayerLines(PUSH, {str(digest): diff_id for digest, diff_id in content.shown})
        if self._screen.has_lines:
            lines.begin()
        with self._screen.line(f"push {target}", f"pushing {target}") as line:
            pushed = push_image(self._transfer, content, target, self._screen.listener(line, lines))
            line.detail = pushed.digest
        self._screen.say(f"{target.tag}: digest: {pushed.digest} size: {pushed.size_bytes}\n")
        if pushed.replaces is not None:
            self._screen.warn("push-part", f"not everything of the index went: {pushed.replaces} -> {pushed.digest}")


def _repository(text: str, references: tuple[Reference, ...]) -> Reference:
    reference = read_reference(text, default_tag="")
    if reference.tag or reference.digest is not None:
        raise UsageError("tag can't be used with --all-tags/-a")
    if references:
        raise UsageError("`--all-tags` pushes a repository to where its name says",
                         hints=("leave the other names out",))  # fmt: skip
    return reference


def _platform(text: str) -> Platform | None:
    try:
        return parse_platform(text, this_platform()) if text else None
    except ValueError as error:
        raise UsageError(f"option `--platform`: {error}") from None
