"""Commands of other tools: their meaning here, or what to type instead. Pure. `cli` only.

Loaded only for a word that is no command of firkin. Covers docker, podman, buildx, buildah, skopeo, crane, dive and
the Kaniko executor. A command with another name here runs only if it does the same. No suggestion leads to a command
that removes or publishes something, unless the user asked for that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple, NoReturn

from firkin.cli.arguments import OPTION
from firkin.cli.commands import group_of
from firkin.errors import UsageError
from firkin.text import nearest

# Never suggested for a word that is only spelt similarly.
_NOT_SUGGESTED = ("rmi", "rm", "remove", "prune", "push", "logout", "delete", "copy")
_CUT = 4  # letters by which a shortened word is recognized


class _Answer(NamedTuple):
    """Why the command does not exist, and what to do."""

    why: str
    instead: str


def _spread(table: Mapping[str, _Answer]) -> dict[str, _Answer]:
    return {word: answer for words, answer in table.items() for word in words.split()}


_NO_DAEMON = "firkin has no daemon"
_LOOK = "`firkin inspect NAME` shows an image of the store, `firkin pull` fetches one"

_ANSWERS = _spread({
    "checkpoint": _Answer("containers cannot be frozen into files", "`firkin pause NAME` stops one for a while"),
    "init": _Answer(
        "a container is made and started by two commands", "`firkin create IMAGE`, then `firkin start NAME`"),
    "mount unmount umount": _Answer(
        "containers are not mounted on this machine", "`firkin cp NAME:PATH DIR` copies files of one, `firkin extract "
        "IMAGE PATH DIR` of an image"),
    "pod play kube generate quadlet": _Answer(
        "firkin runs single containers", "`firkin run IMAGE` for each, joined by `--network container:NAME`"),
    "healthcheck": _Answer("health checks run by themselves", "`firkin inspect NAME` shows their results"),
    "from add": _Answer(
        "firkin builds from Dockerfiles only", "write the step into a Dockerfile, then `firkin build .`"),
    "network": _Answer(
        "there are no networks of one's own yet", "`firkin run` has `--network none`, `host` and `container:NAME`"),
    "swarm stack node secret plugin": _Answer(
        "firkin runs containers on one machine", "secrets of a build are given by `firkin build --secret`"),
    "context machine farm": _Answer(_NO_DAEMON, "`firkin info` shows how and where it builds"),
    "dial-stdio install uninstall use ls-builders": _Answer(_NO_DAEMON, "`firkin build` needs no builder"),
    "bake": _Answer("firkin reads no bake files", "write a `firkin build --target NAME -t NAME .` for each target"),
    "compose": _Answer(
        "firkin reads no compose files yet", "`firkin build -t NAME DIR` builds the image of a service, `firkin run` "
        "starts it"),
    "flatten": _Answer(
        "an image becomes one layer by two commands", "`firkin extract IMAGE / -` writes its files as a tar, `firkin "
        "import` makes an image of it"),
    "search catalog": _Answer(
        "firkin does not search registries", "`firkin ls-tags NAME` lists the tags of a repository"),
    "list": _Answer(
        "firkin has several things to list",
        "`firkin images` lists images, `firkin ls IMAGE` the files of one, `firkin cache ls` a layer cache"),
    "sync": _Answer("firkin copies one image at a time", "`firkin copy NAME OTHER-NAME` for each"),
    "gc": _Answer("firkin has no registry to clean", "`firkin prune` frees what its store does not need"),
    "untag": _Answer("a name of an image is removed by another command", "`firkin rmi NAME` removes that name"),
    "layers blob export-config": _Answer("there is no such command", _LOOK),
    "append mutate rebase edit": _Answer(
        "firkin changes images by building", "`FROM NAME` and what is to be added, then `firkin build .`"),
    "imagetools": _Answer(
        "it is a part of buildx",
        "`firkin buildx imagetools inspect NAME` shows a name, `firkin buildx imagetools create` makes an index"),
    "index": _Answer("an index is made by another command", "`firkin manifest create NAME IMAGE...` begins one"),
    "auth": _Answer("credentials are kept by another command", "`firkin login REGISTRY`"),
    "registry proxy": _Answer(
        "firkin has no registry server", "it works with any registry of the distribution specification"),
    "trust scout scan sbom attest sign standalone-sign standalone-verify": _Answer(
        "firkin neither signs nor scans", "`cosign` signs pushed images, `syft` reads what `firkin save` writes"),
    "explore analyze": _Answer(
        "firkin has no full-screen view of an image", "`firkin ls -R --layer IMAGE` lists its files, each with its "
        "layer; `firkin save -o image.tar NAME` writes what `dive` reads: `dive --source docker-archive image.tar`"),
    "unshare": _Answer("firkin enters its namespaces by itself", "`firkin info` shows which"),
    "dockerfile lint": _Answer("Dockerfiles are checked by another command", "`firkin check .`"),
    "outline targets": _Answer("that is an option of a build", "`firkin build --call outline .` or `--call targets`"),
    "docker podman nerdctl buildah skopeo crane gcrane dive kaniko buildctl": _Answer(
        "the name of another tool is no command", "leave that word out; `firkin --help` lists the commands"),
})  # fmt: skip

_IN_GROUPS: Mapping[tuple[str, str], _Answer] = {
    ("buildx", "history"): _Answer(
        "records of builds are not opened, traced, exported or imported",
        "`buildx history` has ls, inspect, logs and rm: `firkin builds ls|show|logs|rm`"),
    ("buildx", "debug"): _Answer("firkin has no debugger", "`firkin build --target STAGE -o DIR .` shows the files"),
    **{
        (group, word): _Answer(f"{_NO_DAEMON} and no builders to choose from", "`firkin info` shows how it builds")
        for group in ("builder",)
        for word in ("ls", "inspect", "create", "use", "rm", "stop")
    },
    **{
        ("service", word): _Answer(
            "services of a swarm need an orchestrator", "`firkin service status` is about containers of this machine")
        for word in ("create", "inspect", "logs", "ls", "ps", "rm", "rollback", "scale", "update")
    },
}


def explain(words: list[str], commands: Collection[str], program: str = "firkin") -> NoReturn:
    """Raise UsageError that says what to type instead; the words begin with no name in `commands`.

    For a word that nobody knows it has docker's own words, which scripts look for.
    """
    first = words[0]
    if group_of([first]):
        _explain_in_group(first, words[1:], program)
    answer = _ANSWERS.get(first)
    if answer is not None:
        raise UsageError(f"firkin has no command `{first}`: {answer.why}", hints=(answer.instead,))
    meant = _meant(first, commands)
    hint = f"did you mean `{meant}`?" if meant else "`firkin --help` lists the commands"
    raise UsageError(f"unknown command: {program} {first}", hints=(hint,))


def _meant(word: str, commands: Collection[str]) -> str | None:
    """Return the command that was misspelt or cut short, if only one fits and it does no harm."""
    harmless = [command for command in commands if command not in _NOT_SUGGESTED]
    longer = [known for known in (*commands, *_ANSWERS) if len(word) >= _CUT and known.startswith(word)]
    return longer[0] if len(longer) == 1 and longer[0] in harmless else similar(word, harmless)


def similar(word: str, known: Collection[str]) -> str | None:
    """Return the known word that was misspelt, if it is clear: one slip in short words, two in longer ones."""
    likely = [item for item in known if word[:1] in tuple(item[:2])]
    return nearest(word, likely, limit=1 if len(word) < 6 else 2)


def _explain_in_group(group: str, rest: list[str], program: str) -> NoReturn:
    listed = group_of([group])
    hint = f"`firkin {group}` has {', '.join(listed)}"
    name = rest[0] if rest else ""
    if name.startswith("-"):
        hints = ("options follow the command",)
        raise UsageError(f"unknown option `{name}` of `{program} {group}`", code=OPTION, hints=hints)
    answer = _IN_GROUPS.get((group, name)) or _ANSWERS.get(name)
    if answer is not None:
        raise UsageError(f"firkin has no command `{group} {name}`: {answer.why}", hints=(answer.instead,))
    meant = similar(name, [word for word in listed if word not in _NOT_SUGGESTED])
    if meant:
        hint = f"did you mean `{group} {meant}`?"
    raise UsageError(f"unknown command: {program} {group} {name}", hints=(hint,))
