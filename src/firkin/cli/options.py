"""Options: one row each. The parser, the reference pages, completion and the parity test come from these rows. Pure.

Only `cli` may import this module. The environment variables in `environ` replace an option that was not given; the
first one that is set counts. `values` and `requests` define what an option's value means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

# flag: true or false · text: last one wins · many: repeatable · count: a number · choice: one of `choices`
# refused: other tools have it, it cannot work here (`help` says what to do) · off: may only be switched off
# ignored: has no meaning here and does no harm
Kind = Literal["flag", "text", "many", "count", "choice", "refused", "off", "ignored"]


class Option(NamedTuple):
    """One option. `flags` are its spellings, the canonical one first; `dest` is its name in Arguments."""

    flags: tuple[str, ...]
    dest: str
    kind: Kind
    help: str
    metavar: str = ""
    environ: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    takes_value: bool = True

    @property
    def wants_value(self) -> bool:
        """Whether the next word belongs to the option (`--tag app:1`)."""
        spoken = self.kind in ("refused", "ignored")
        return self.takes_value if spoken else self.kind != "flag"


def _flag(flags: str, dest: str, help: str, environ: tuple[str, ...] = ()) -> Option:
    return Option(tuple(flags.split()), dest, "flag", help, environ=environ, takes_value=False)


def _text(flags: str, dest: str, metavar: str, help: str, environ: tuple[str, ...] = ()) -> Option:
    return Option(tuple(flags.split()), dest, "text", help, metavar, environ)


def _many(flags: str, dest: str, metavar: str, help: str, environ: tuple[str, ...] = ()) -> Option:
    return Option(tuple(flags.split()), dest, "many", help, metavar, environ)


def _count(flags: str, dest: str, metavar: str, help: str) -> Option:
    return Option(tuple(flags.split()), dest, "count", help, metavar)


def _choice(flags: str, dest: str, choices: str, help: str, environ: tuple[str, ...] = ()) -> Option:
    words = tuple(choices.split("|"))
    return Option(tuple(flags.split()), dest, "choice", help, choices, environ, words)


def _refused(flags: str, hint: str, *, takes_value: bool = True) -> Option:
    return Option(tuple(flags.split()), "", "refused", hint, takes_value=takes_value)


COMMON = (
    _text("--root", "root", "DIR", "keep images and cache in DIR", ("FIRKIN_ROOT",)),
    _text("--config", "config", "FILE", "read FILE after the usual config.toml files", ("FIRKIN_CONFIG",)),
    _flag("--debug -D", "debug", "show tracebacks and what else helps to find a fault", ("FIRKIN_DEBUG",)),
    _flag("--help -h", "help", "show this help"),
)

REGISTRY = (
    _many("--registry-mirror", "registry_mirror", "REGISTRY=URL",
          "ask URL for the images of REGISTRY first, e.g. `docker.io=http://127.0.0.1:5000`"),
    _flag("--no-mirror-fallback", "no_mirror_fallback", "do not ask the registry itself when its mirrors fail"),
    _many("--insecure-registry", "insecure_registry", "HOST[:PORT]", "speak plain HTTP with this registry"),
    _many("--tls-skip-verify", "tls_skip_verify", "HOST[:PORT]", "accept any certificate of this registry (`*`: all)"),
    _many("--tls-ca", "tls_ca", "[HOST=]FILE", "trust the certificates of FILE as well (for HOST only)"),
    _many("--tls-cert", "tls_cert", "HOST=CERT,KEY", "present a client certificate to HOST"),
    _many("--auth-file", "auth_file", "FILE", "look for credentials in FILE (a docker config.json) first"),
    _count("--registry-retries", "registry_retries", "N", "try a request again, up to N times, when it may work later"),
    _count("--registry-parallel", "registry_parallel", "N", "move up to N layers at a time"),
)  # fmt: skip

PROGRESS = (
    _choice("--progress", "progress", "auto|plain|tty|json|rawjson|quiet|none",
            "how to show what is done (auto: tty on a terminal, else plain)", ("FIRKIN_PROGRESS", "BUILDKIT_PROGRESS")),
    _flag("--quiet -q", "quiet", "print errors and the result only (of a build: the image id)"),
)  # fmt: skip

BUILD = (
    _many("--tag -t", "tag", "NAME[:TAG]", "give the image this name"),
    _text("--file -f", "file", "PATH", "the Dockerfile (default: `Dockerfile` in the context; `-`: standard input)"),
    _text("--target", "target", "STAGE", "build this stage instead of the last"),
    _many("--build-arg", "build_arg", "KEY[=VALUE]", "set a build argument; without VALUE, from the environment"),
    _many("--build-context", "build_context", "NAME=SOURCE",
          "a named context for FROM, COPY --from and mounts: directory, URL, `docker-image://`, `oci-layout://`"),
    _many("--label", "label", "KEY=VALUE", "add a label to the image"),
    _many("--annotation", "annotation", "KEY=VALUE", "add an annotation to the manifest"),
    _many("--platform", "platform", "OS/ARCH[/VARIANT]", "build for this platform", ("DOCKER_DEFAULT_PLATFORM",)),
    _many("--output -o", "output", "TYPE[,KEY=VALUE...]",
          "where the result goes: `type=` image, registry, docker, oci, tar or local, with `dest=`; "
          "a bare path is type=local"),
    _flag("--push", "push", "push the image to the registries of its tags"),
    _flag("--load", "load", "keep the image in the store (the default without `--push` and `--output`)"),
    _text("--iidfile", "iidfile", "FILE", "write the image id to FILE"),
    _text("--metadata-file", "metadata_file", "FILE", "write facts about the build to FILE, as JSON"),
    _flag("--no-cache", "no_cache", "run every step, whatever is cached"),
    _many("--no-cache-filter", "no_cache_filter", "STAGE", "do not use the cache for this stage"),
    _flag("--pull", "pull", "ask the registry for base images even if they are in the store"),
    _text("--base-max-age", "base_max_age", "TIME",
          "ask the registry about the tag of a base at most once in this time, e.g. `10m` (default: 0s: every build)"),
    _many("--cache-from", "cache_from", "REF|type=...",
          "look for layers there as well (type=registry,ref= or type=local,src=)"),
    _many("--cache-to", "cache_to", "type=...",
          "save the cache there (type=registry,ref= · type=local,dest= · type=inline; with `mode=max` all steps, "
          "with `mounts=true` cache mounts)"),
    _flag("--explain", "explain", "show for each step that is not cached what differs from its last run"),
    _flag("--require-cached", "require_cached", "fail if a step would have to run, and show why"),
    _many("--secret", "secret", "id=ID[,src=FILE|,env=NAME]", "a secret for RUN --mount=type=secret"),
    _many("--ssh", "ssh", "default|ID[=SOCKET|KEY]", "an SSH agent or key for RUN --mount=type=ssh"),
    _many("--allow", "allow", "ENTITLEMENT", "allow what is refused by default (network.host, security.insecure)"),
    _text("--network", "network", "MODE", "network of RUN steps: default, host or none"),
    _many("--add-host", "add_host", "NAME:ADDRESS", "add a line to /etc/hosts of RUN steps"),
    _text("--shm-size", "shm_size", "SIZE", "size of /dev/shm in RUN steps (default: 64m)"),
    _many("--ulimit", "ulimit", "NAME=SOFT[:HARD]", "a resource limit of RUN steps"),
    _text("--max-unpack-size", "max_unpack_size", "SIZE",
          "what one layer, archive or git tree may unpack to; 0: anything (default: 512g)"),
    _count("--max-unpack-entries", "max_unpack_entries", "NUMBER",
           "how many entries one layer, archive or git tree may have; 0: any number (default: 10000000)"),
    _choice("--isolation", "isolation", "auto|namespaces|chroot|inplace",
            "how RUN steps are kept apart from this machine (see `firkin info`)", ("FIRKIN_ISOLATION",)),
    _text("--source-date-epoch", "source_date_epoch", "SECONDS",
          "the image's time instead of the clock's, for equal results; or a name: `context`, a stage, a named context",
          ("SOURCE_DATE_EPOCH",)),
    _flag("--rewrite-timestamp", "rewrite_timestamp", "clamp the times of all files in new layers to the image's time"),
    _count("--parallel", "parallel", "N", "run up to N steps at a time"),
    _flag("--check", "check", "check the Dockerfile and stop"),
    _text("--call", "call", "METHOD[,format=json][,ignorestatus]",
          "answer a question instead of building: check (or lint), outline (what the target takes), targets"),
    _text("--verify", "verify", "REF|DIGEST",
          "build, and compare the result with this image of the store or a registry instead of keeping it"),
    Option(("--provenance",), "", "off", "no attestations are made yet; leave it out or write `--provenance=false`"),
    Option(("--sbom",), "", "off", "no attestations are made yet; leave it out or write `--sbom=false`"),
    _refused("--attest", "no attestations are made yet; leave it out"),
    Option(("--builder",), "", "ignored", "there is one builder, firkin itself; every name means it"),
    _refused("--cgroup-parent", "without a daemon there are no control groups to put steps in; limit firkin itself, "
             "e.g. with `systemd-run --user --scope`"),
    _refused("--memory -m", "start firkin in a limited scope instead: `systemd-run --user --scope -p MemoryMax=2G`"),
    _refused("--memory-swap", "start firkin in a limited scope instead"),
    _refused("--cpu-shares -c", "start firkin in a limited scope instead"),
    _refused("--cpu-quota", "start firkin in a limited scope instead"),
    _refused("--cpu-period", "start firkin in a limited scope instead"),
    _refused("--cpuset-cpus", "start firkin under `taskset` instead"),
    _refused("--cpuset-mems", "start firkin under `numactl` instead"),
    _refused("--security-opt", "steps run unprivileged; `--allow` and RUN --security give rights to a step"),
    _refused("--policy", "source policies are not supported"),
    _refused("--squash", "layers are not squashed; a last stage `FROM scratch` with `COPY --from` has one layer",
             takes_value=False),
    Option(("--rm",), "", "ignored", "intermediate containers do not exist", takes_value=False),
    Option(("--force-rm",), "", "ignored", "intermediate containers do not exist", takes_value=False),
    Option(("--compress",), "", "ignored", "the context is never sent anywhere", takes_value=False),
    Option(("--disable-content-trust",), "", "ignored", "has no effect", takes_value=False),
)  # fmt: skip


CHECK = (
    *(row for row in BUILD if row.dest in ("file", "target", "build_arg", "build_context", "platform")),
    _choice("--format", "format", "text|json", "print for people (text) or programs (json)"),
    _many("--compat", "compat", "BUILDER", "also show what this builder ignores or gets wrong: kaniko"),
)


def by_flag(rows: tuple[Option, ...]) -> Mapping[str, Option]:
    """Return the rows by every spelling; two rows that share a spelling are an error in the tables."""
    return {flag: row for row in rows for flag in row.flags}
