"""The flags of `executor`, `warmer`, `executor push` and `executor login`, a row each. Pure. Only `cli` may import it.

A row gives a flag's spelling, its kind, its default, and what firkin does with it. Parsing, requests,
`--explain-flags`, help, docs/cli.md and completion are made from the rows.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from firkin.cli.options import Option

# bool · text (last wins) · many (repeatable, commas are part of the value) · list (repeatable, split at commas)
# pairs (`key=value`, last wins for a key) · lists (`a=b;c=d`, all values of a key are kept) · int · duration
Kind = Literal["bool", "text", "many", "list", "pairs", "lists", "int", "duration"]
# supported: has its effect · no-op: accepted, has no meaning here · refused: an error with a hint
# deprecated: another spelling, accepted with a warning
State = Literal["supported", "no-op", "refused", "deprecated"]
Command = Literal["executor", "warmer", "push", "login"]


class Flag(NamedTuple):
    """One flag. `here` says what firkin does with it; `alias` is the canonical name of a deprecated spelling."""

    name: str
    kind: Kind
    state: State
    here: str
    default: str = ""
    short: str = ""
    environ: str = ""
    choices: str = ""
    alias: str = ""
    case: str = ""  # "any": the value is lowered, as in logrus.ParseLevel

    @property
    def dest(self) -> str:
        """Return the name under which the value is kept."""
        return self.alias or self.name


def _flag(spelling: str, kind: Kind, here: str, **rest: str) -> Flag:
    name, _, short = spelling.partition(" ")
    return Flag(name, kind, "supported", here, short=short, **rest)


def _ignored(spelling: str, kind: Kind, here: str, **rest: str) -> Flag:
    return Flag(spelling, kind, "no-op", here, **rest)


def _refused(spelling: str, kind: Kind, here: str) -> Flag:
    return Flag(spelling, kind, "refused", here)


def _alias(spelling: str, kind: Kind, alias: str, **rest: str) -> Flag:
    return Flag(spelling, kind, "deprecated", f"use `--{alias}`", alias=alias, **rest)


LOGGING = (
    _flag("verbosity v", "text", "level of firkin's messages; output of RUN is always shown", default="info",
          choices="trace|debug|info|warn|warning|error|fatal|panic", case="any"),
    _flag("log-format", "text", "form of firkin's messages on standard error", default="color",
          choices="color|text|json"),
    _flag("log-timestamp", "bool", "full timestamps in color and text"),
)  # fmt: skip

REGISTRY = (
    _flag("insecure-pull", "bool", "pull by plain HTTP"),
    _flag("insecure-registry", "many", "plain HTTP, both ways, with this HOST[:PORT]"),
    _flag("skip-tls-verify-pull", "bool", "accept any certificate when pulling"),
    _flag("skip-tls-verify-registry", "many", "accept any certificate of this HOST[:PORT]"),
    _flag("registry-certificate", "pairs", "`HOST=FILE`: trust the certificates of FILE as well for HOST"),
    _flag("registry-client-cert", "pairs", "`HOST=CERT,KEY`: present a client certificate to HOST"),
    _flag("registry-mirror", "many", "ask this `HOST[/PREFIX]` for images of Docker Hub first",
          environ="KANIKO_REGISTRY_MIRROR"),
    _flag("registry-map", "lists", "`REGISTRY=HOST[/PREFIX];...`: the same for any registry",
          environ="KANIKO_REGISTRY_MAP"),
    _flag("skip-default-registry-fallback", "bool", "fail when all mirrors fail; without mirrors it says nothing"),
    _flag("image-download-retry", "int", "repeat a pull that failed, 1, 2, 4, ... seconds later", default="0"),
    _flag("credential-helpers", "many", "which of env, google, ecr, acr, gitlab are asked after the config files; "
          "an empty value: none", default="env,google,ecr,acr,gitlab"),
)  # fmt: skip

PUSHING = (
    _flag("destination d", "many", "name to push to; with several, all get the same manifest, in order"),
    _flag("insecure", "bool", "push by plain HTTP"),
    _flag("skip-tls-verify", "bool", "accept any certificate when pushing, and when pulling"),
    _flag("push-retry", "int", "repeat a push that failed, 1, 2, 4, ... seconds later", default="0"),
    _flag("push-ignore-immutable-tag-errors", "bool", "succeed when the registry says that the tag cannot change"),
    _flag("skip-push-permission-check", "bool", "do not ask the registries before the build whether they would take "
          "the image"),
)  # fmt: skip

BUILD = (
    _flag("dockerfile f", "text", "URL or path: seen from the working directory, else from the context",
          default="Dockerfile"),
    _flag("context c", "text", "directory, `dir://`, `tar://` (`tar://stdin`), `git://`, `https://`, `s3://`, `gs://`",
          default="/workspace/"),
    _flag("context-sub-path", "text", "the directory inside the context that counts; for plain directories too"),
    _flag("no-push", "bool", "do not push the image; files asked for are written all the same",
          environ="KANIKO_NO_PUSH"),
    _flag("no-push-cache", "bool", "read the cache but add nothing to it"),
    _flag("target", "list", "the stage to build; of several the first becomes the image, the others must build"),
    _flag("build-arg", "many", "`KEY=VALUE`; a bare KEY has the environment's value, empty where it is not set"),
    _flag("label", "many", "`KEY=VALUE`; a LABEL of the stage that is built wins, other than in Docker"),
    _flag("annotation", "pairs", "annotation of the manifest"),
    _flag("secret", "many", "`id=ID[,src=FILE][,env=NAME]` for RUN --mount=type=secret; never written to a disk"),
    _flag("git", "pairs", "of a git context: branch=NAME (or a tag), depth=N (commits in .git: 1 unless said, 0 is "
          "all), recurse-submodules=BOOL, insecure-skip-tls=BOOL; single-branch is checked and changes nothing, as no "
          "other branch is ever fetched"),
    _flag("custom-platform", "text", "`OS/ARCH[/VARIANT]`; FROM --platform is honoured as well"),
    _flag("cache", "bool", "look layers up in --cache-repo and add new ones; `=false`: execute every step"),
    _flag("cache-repo", "text", "repository of cached layers, or `oci:DIR`; default: `cache` below the first "
          "destination"),
    _flag("cache-dir", "text", "base images that `warmer` put there are read from it", default="/cache"),
    _flag("cache-ttl", "duration", "cached layers older than this are not used", default="336h"),
    _flag("cache-copy-layers", "bool", "layers of COPY and ADD are cached too; on unless switched off",
          default="true"),
    _flag("cache-run-layers", "bool", "layers of RUN and WORKDIR are cached", default="true"),
    _ignored("compressed-caching", "bool", "layers are streamed, none is ever held in memory", default="true"),
    _flag("compression", "text", "compression of new layers", choices="gzip|zstd"),
    _flag("compression-level", "int", "above 0: level of the compression", default="-1"),
    _flag("image-format", "text", "kind of manifest; default: that of the base image", choices="docker|oci"),
    _flag("tar-path", "text", "write the image as a tar for `docker load` and the like"),
    _flag("oci-layout-path", "text", "write an OCI layout into this directory; what it listed before is replaced"),
    _flag("digest-file", "text", "write the digest there, without a line's end: a path, or https:// to PUT it"),
    _flag("image-name-with-digest-file", "text", "write NAME@DIGEST there, a line for each destination"),
    _flag("image-name-tag-with-digest-file", "text", "write NAME:TAG@DIGEST there, a line for each destination"),
    _flag("reproducible", "bool", "times of new files, `created` and history are SOURCE_DATE_EPOCH or 1970; layers of "
          "the base stay as they are"),
    _flag("single-snapshot", "bool", "one layer for all that the stage's instructions changed"),
    _ignored("snapshot-mode", "text", "changes are known without scanning; the value is checked", default="full",
             choices="full|redo|time"),
    _ignored("use-new-run", "bool", "changes are known without markers"),
    _flag("ignore-path", "many", "what new layers would have there is left out of the image"),
    _flag("ignore-var-run", "bool", "only an explicit `=true` leaves /var/run out of new layers; the default keeps it",
          default="false"),
    _ignored("cleanup", "bool", "a build leaves nothing behind in the container", environ="KANIKO_CLEANUP"),
    _ignored("pre-cleanup", "bool", "a build does not start in the container's own files",
             environ="KANIKO_PRE_CLEANUP"),
    _ignored("preserve-context", "bool", "a build does not change the container's own files",
             environ="KANIKO_PRESERVE_CONTEXT"),
    _refused("materialize", "bool", "the container's own files are not replaced: `firkin build -o DIR` unpacks an "
             "image"),
    _flag("dryrun", "bool", "print the steps, execute and push nothing"),
    _flag("kaniko-dir", "text", "work there: layers and images are kept in `store` below it", environ="KANIKO_DIR"),
    _ignored("force", "bool", "firkin runs outside of containers as well"),
    _flag("image-fs-extract-retry", "int", "repeat a pull that failed, as --image-download-retry", default="0"),
    _ignored("skip-unused-stages", "bool", "stages that nothing needs are never built", default="true"),
    _ignored("force-build-metadata", "bool", "metadata are always those of the Dockerfile"),
    _flag("bucket b", "text", "old: `[gs://|s3://]BUCKET[/OBJECT]` that holds the context as a tar.gz"),
    _alias("customPlatform", "text", "custom-platform"),
    _alias("tarPath", "text", "tar-path"),
    _alias("snapshotMode", "text", "snapshot-mode", default="full", choices="full|redo|time"),
    _alias("whitelist-var-run", "bool", "ignore-var-run"),
)  # fmt: skip

OWN = (
    _flag("isolation", "text", "firkin's own: how RUN steps are kept apart (see `firkin info`)", default="auto",
          choices="auto|namespaces|chroot|inplace", environ="FIRKIN_ISOLATION"),
)  # fmt: skip
COMMON = (
    _flag("root", "text", "firkin's own: keep images and cache in DIR", environ="FIRKIN_ROOT"),
    _flag("debug", "bool", "firkin's own: show tracebacks and what else helps to find a fault",
          environ="FIRKIN_DEBUG"),
    _flag("help h", "bool", "show the flags"),
    _flag("explain-flags", "bool", "firkin's own: show this table"),
)  # fmt: skip

WARMING = (
    _flag("image i", "many", "image to fetch"),
    _flag("dockerfile d", "text", "fetch the base images of this Dockerfile"),
    _flag("build-arg", "many", "`KEY=VALUE` for FROM lines of the Dockerfile"),
    _flag("cache-dir c", "text", "where images are put: an OCI layout", default="/cache"),
    _flag("cache-ttl", "duration", "images that are there and younger than this are left alone", default="336h"),
    _flag("force f", "bool", "fetch even what is there"),
    _flag("customPlatform", "text", "`OS/ARCH[/VARIANT]` of the images"),
    _flag("skip-tls-verify", "bool", "accept any certificate"),
)  # fmt: skip

LOGIN = (
    _flag("username u", "text", "the user's name"),
    _flag("password p", "text", "the password; `--password-stdin` shows it to nobody"),
    _flag("password-stdin", "bool", "read the password from standard input"),
)  # fmt: skip

FLAGS: dict[Command, tuple[Flag, ...]] = {
    "executor": BUILD + PUSHING + REGISTRY + LOGGING + OWN + COMMON,
    "warmer": WARMING + REGISTRY + LOGGING + COMMON,
    "push": PUSHING + REGISTRY + LOGGING + COMMON,
    "login": LOGIN + REGISTRY + LOGGING + COMMON,
}


def takes_value(flag: Flag) -> bool:
    """Return whether the next word belongs to the flag; booleans cannot be written `--x v`."""
    return flag.kind != "bool"


def option_rows(command: Command) -> tuple[Option, ...]:
    """Return the flags as rows of options, for help texts and completion."""
    return tuple(map(_option, FLAGS[command]))


def _option(flag: Flag) -> Option:
    spellings = (f"--{flag.name}", f"-{flag.short}") if flag.short else (f"--{flag.name}",)
    text = flag.here if flag.state == "supported" else f"{flag.state}: {flag.here}"
    if flag.default:
        text += f" (default: {flag.default})"
    environ = (flag.environ,) if flag.environ else ()
    if not takes_value(flag):
        return Option(spellings, flag.name, "flag", text, environ=environ, takes_value=False)
    choices = tuple(flag.choices.split("|")) if flag.choices else ()
    return Option(spellings, flag.name, "choice" if choices else "text", text, flag.choices or _METAVARS[flag.kind],
                  environ, choices)  # fmt: skip


_METAVARS: dict[Kind, str] = {
    "text": "VALUE", "many": "VALUE", "list": "VALUE[,VALUE]", "pairs": "KEY=VALUE", "lists": "KEY=VALUE[;...]",
    "int": "N", "duration": "DURATION", "bool": "",
}  # fmt: skip


def explain(command: Command) -> str:
    """Return the table of `--explain-flags`."""
    import textwrap

    lines = [f"{'FLAG':<42}{'STATE':<12}HERE"]
    for flag in FLAGS[command]:
        head = (f"-{flag.short}, " if flag.short else "") + f"--{flag.name}"
        head += f" {flag.choices or _METAVARS[flag.kind]}".rstrip() if len(flag.choices) < 16 else " VALUE"
        text = flag.here.replace("`", "")
        if flag.choices:
            text += f"; {flag.choices.replace('|', ', ')}"
        if flag.default:
            text += f" [default {flag.default}]"
        if flag.environ:
            text += f" [${flag.environ}]"
        body = textwrap.wrap(text, 76)
        if len(head) > 41:
            lines.append(head)
            head = ""
        lines.append(f"{head:<42}{flag.state:<12}{body[0]}")
        lines += [f"{'':<54}{line}" for line in body[1:]]
    return "\n".join(lines) + "\n"


def flag_table(command: Command) -> str:
    """Return the flags as the table of docs/kaniko.md."""
    lines = ["| flag | state | here | default |", "| --- | --- | --- | --- |"]
    for flag in FLAGS[command]:
        name = f"`--{flag.name}`" + (f", `-{flag.short}`" if flag.short else "")
        here = flag.here + (f"; ${flag.environ} stands in" if flag.environ else "")
        default = f"`{flag.default}`" if flag.default else ""
        lines.append(f"| {name} | {flag.state} | {here.replace('|', chr(92) + '|')} | {default} |")
    return "\n".join(lines) + "\n"
