"""Checks for files that another builder builds as well: what it ignores or gets wrong. Pure.

`firkin check --compat kaniko` runs them; lint imports COMPAT and COMPAT_RULES. Each finding says what
the other builder does, so that users need not find out from a broken image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from firkin.builder.dockerfile.giturl import parse_git_url
from firkin.builder.dockerfile.gotext import clean_path
from firkin.builder.dockerfile.instructions.add import Add
from firkin.builder.dockerfile.instructions.copy import Copy
from firkin.builder.dockerfile.instructions.run import Run
from firkin.builder.dockerfile.instructions.shell import Shell
from firkin.builder.dockerfile.instructions.user import User
from firkin.builder.dockerfile.instructions.volume import Volume
from firkin.builder.dockerfile.rules import Rule
from firkin.builder.dockerfile.syntax import Dockerfile, Instruction, Stage
from firkin.builder.dockerfile.words import split_words
from firkin.source import Span

Finding = tuple[str, str, Span]


def _kaniko_rule(name: str, description: str) -> Rule:
    return Rule(f"Kaniko{name}", description, builder="kaniko")


COMPAT_RULES: Final = {
    rule.name: rule
    for rule in (
        _kaniko_rule("FlagIgnored", "Kaniko accepts this flag and ignores it"),
        _kaniko_rule("ChecksumIgnored", "Kaniko does not verify ADD --checksum: a wrong checksum builds fine"),
        _kaniko_rule("GitSource", "Kaniko does not clone git repositories in ADD"),
        _kaniko_rule("PlatformIgnored", "Kaniko ignores FROM --platform"),
        _kaniko_rule("MountIgnored", "Kaniko runs the command without this mount"),
        _kaniko_rule("MountOptionIgnored", "Kaniko ignores this mount option"),
        _kaniko_rule("HeredocNotRun", "Kaniko runs nothing for this heredoc, and succeeds"),
        _kaniko_rule("HeredocShell", "Kaniko runs every heredoc with its own shell"),
        _kaniko_rule("HeredocNotExpanded", "Kaniko does not expand variables in heredocs of COPY and ADD"),
        _kaniko_rule("SyntaxIgnored", "Kaniko ignores the syntax directive"),
        _kaniko_rule("EscapeInWords", "Kaniko expands words with a backslash as escape, whatever the directive says"),
        _kaniko_rule("CopyOwner", "Kaniko gives copied files to the USER instead of root"),
        _kaniko_rule("ArchiveOwner", "Kaniko ignores --chown for unpacked archives"),
        _kaniko_rule("VolumeContentLost", "Kaniko drops what is written below a VOLUME"),
        _kaniko_rule("PathNotCommitted", "Kaniko never commits files below this path"),
    )
}
"""Checks for other builders by name."""

_DROPPED_PATHS: Final = ("/var/run", "/tmp/apt-key-gpghome")
_ARCHIVES: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_IGNORED_FLAGS: Final = {
    "copy": ("link", "parents", "exclude"),
    "add": ("link", "unpack", "exclude", "keep-git-dir"),
    "run": ("network", "security"),
    "healthcheck": ("start-interval",),
}
_IGNORED_OPTIONS: Final = {
    "cache": ("sharing", "ro", "readonly", "from", "source", "src"),
    "bind": ("ro", "readonly", "rw", "readwrite"),
}


def kaniko(dockerfile: Dockerfile) -> Iterator[Finding]:
    """Find what Kaniko (the maintained fork, with its default flags) ignores or gets wrong."""
    for name, span in dockerfile.directives.spans:
        if name == "syntax":
            yield "KanikoSyntaxIgnored", "the syntax directive has no effect in Kaniko", span
        if name == "escape" and dockerfile.directives.escape != "\\":
            yield "KanikoEscapeInWords", "Kaniko keeps the backslash as escape inside words", span
    for stage in dockerfile.stages:
        if stage.base.platform:
            message = f"Kaniko ignores --platform={stage.base.platform} and takes the build's own platform"
            yield "KanikoPlatformIgnored", message, stage.base.span
        yield from _in_order(stage)
        for node in stage.instructions:
            yield from _flags(node)
            if isinstance(node, Run):
                yield from _mounts(node)


def _in_order(stage: Stage) -> Iterator[Finding]:
    """Yield the findings that depend on earlier instructions of the stage."""
    user = ""
    shell: Instruction | None = None
    volumes: list[str] = []
    for node in stage.instructions:
        if isinstance(node, User):
            user = node.user
        elif isinstance(node, Shell):
            shell = node
        elif isinstance(node, Volume):
            volumes += (clean_path(path) for path in node.paths if "$" not in path)
        elif isinstance(node, Copy | Add):
            yield from _transfers(node, user, volumes)
        elif isinstance(node, Run):
            yield from _heredocs(node, shell)
            yield from _lost_paths(node, volumes)


def _transfers(node: Copy | Add, user: str, volumes: list[str]) -> Iterator[Finding]:
    transfer = node.transfer
    if user and user.partition(":")[0] not in ("root", "0") and not transfer.chown:
        message = f"without --chown the files belong to root, but Kaniko gives them to `{user}`"
        yield "KanikoCopyOwner", message, node.span
    if any(heredoc.expand and "$" in heredoc.content for heredoc in transfer.heredocs):
        message = "variables in this heredoc stay as they are in Kaniko; quote the word if that is meant"
        yield "KanikoHeredocNotExpanded", message, node.span
    destination = clean_path(transfer.destination)
    for volume in volumes:
        if transfer.destination.startswith("/") and (destination + "/").startswith(volume.rstrip("/") + "/"):
            message = f"`{transfer.destination}` is below the volume `{volume}`: Kaniko drops the files"
            yield "KanikoVolumeContentLost", message, node.span
    if isinstance(node, Add):
        yield from _additions(node)


def _additions(node: Add) -> Iterator[Finding]:
    """Yield the findings about features of ADD alone: checksums, git repositories, archives."""
    chown = node.transfer.chown
    if node.checksum:
        yield "KanikoChecksumIgnored", f"Kaniko does not verify --checksum={node.checksum}", node.span
    for path in node.transfer.paths:
        try:
            git = parse_git_url(path, known_git=node.keep_git_dir is not None)
        except ValueError:
            continue  # lowering reports it
        if git is not None and not git.looks_local:
            yield "KanikoGitSource", f"Kaniko does not clone `{path}`", node.span
        elif chown and path.endswith(_ARCHIVES) and "://" not in path:
            message = f"Kaniko unpacks `{path}` with the owners that the archive names, not {chown}"
            yield "KanikoArchiveOwner", message, node.span


def _heredocs(node: Run, shell: Instruction | None) -> Iterator[Finding]:
    heredocs = node.raw.heredocs
    if not heredocs:
        return
    words = split_words(node.raw.rest, "\\")
    word = words[0] if words else ""
    if word != f"<<{heredocs[0].name}" and word.startswith("<<"):
        message = f"Kaniko runs nothing for `{word}`, and succeeds; only `<<{heredocs[0].name}` is run"
        yield "KanikoHeredocNotRun", message, node.span
    elif heredocs[0].body.startswith("#!"):
        yield "KanikoHeredocShell", "Kaniko ignores the first line `#!` of the heredoc", node.span
    elif shell is not None:
        message = f"Kaniko ignores the SHELL of line {shell.span.start.line} for heredocs"
        yield "KanikoHeredocShell", message, node.span


def _lost_paths(node: Run, volumes: list[str]) -> Iterator[Finding]:
    text = "\n".join((node.text, *(heredoc.content for heredoc in node.raw.heredocs)))
    for path in _DROPPED_PATHS:
        if path in text:
            yield "KanikoPathNotCommitted", f"Kaniko never commits files below `{path}`", node.span
    for volume in volumes:
        if volume != "/" and volume in text:
            message = f"the command names the volume `{volume}`: Kaniko drops what is written there"
            yield "KanikoVolumeContentLost", message, node.span


def _flags(node: Instruction) -> Iterator[Finding]:
    ignored = _IGNORED_FLAGS.get(node.keyword, ())
    for flag in node.raw.flags:
        name, _, value = flag[2:].partition("=")
        if name in ignored and value.lower() != "false":
            yield "KanikoFlagIgnored", f"Kaniko accepts --{name} in {node.keyword.upper()} and ignores it", node.span


def _mounts(node: Run) -> Iterator[Finding]:
    for text in node.mounts:
        options = dict(field.partition("=")[::2] for field in text.replace('"', "").split(","))
        kind = options.get("type", "bind").lower()
        if kind in ("tmpfs", "ssh"):
            yield "KanikoMountIgnored", f"Kaniko runs the command without the {kind} mount", node.span
            continue
        if kind == "bind" and "from" in options:
            message = f"Kaniko runs the command without the files from `{options['from']}`"
            yield "KanikoMountIgnored", message, node.span
            continue
        found = [name for name in _IGNORED_OPTIONS.get(kind, ()) if name in options]
        for name in found:
            yield "KanikoMountOptionIgnored", f"Kaniko ignores `{name}` of the {kind} mount", node.span


COMPAT: Final[dict[str, Callable[[Dockerfile], Iterator[Finding]]]] = {"kaniko": kaniko}
"""The checks of each builder, by its name."""
