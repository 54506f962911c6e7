"""Hints in the words of the Python API: its arguments and functions. Pure.

Where the API has no function, the hint names the command: `firkin info`, `firkin prune`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from firkin.errors import ContainerError, FirkinError, ImageNotFound, NotFound
from firkin.hints import Texts

P = ParamSpec("P")
T = TypeVar("T")

API: Texts = {
    "allow-host-network": 'allow it with `allow=["network.host"]`',
    "allow-insecure": 'allow it with `allow=["security.insecure"]`',
    "build-arg": 'give `{name}` a value: `ARG {name}=...` before the first FROM, or `build_args={{"{name}": ...}}`',
    "build-for-this-machine": "`{path}` is a program for {machine}, which this machine does not run: install "
    "`qemu-user-static` (binfmt_misc) to have it emulated, or build for this machine with `platform`",
    "context-kind": "a context is a directory, or a tar archive; `dockerfile=PATH` names the Dockerfile",
    "context-missing": 'the context is the first argument: `firkin.build(".", tags=["app:1"])`',
    "dockerfile": "name it with `dockerfile=PATH`",
    "dockerfile-in-context": "name it with `dockerfile=PATH`, counted from the root of the context",
    "dockerfile-link": "links are followed inside the context only, absolute ones as well; copy the file, or name it "
    "with `dockerfile` where it is",
    "git-host-secret": "no credentials are sent there: those for another host have to name it, as in "
    '`secrets={{"GIT_AUTH_TOKEN.{host}": ...}}`',
    "git-secret": 'for a private repository pass `secrets={{"GIT_AUTH_TOKEN": ...}}`',
    "output-mediatypes": 'leave out `media_family="docker"`, or add `compression="gzip", force_compression=True`',
    "output-platforms": 'use `type="oci"`, or one platform',
    "output-split": "leave out `platform_split=False`, and each gets a directory",
    "push-name": 'add `tags=["registry/repository:tag"]`',
    "secret": 'pass it with `secrets={{"{id}": ...}}`',
    "ssh": 'pass an agent with `ssh=[firkin.request.SshAgent("{id}", (SOCKET,))]`',
    "ssh-agent": "install OpenSSH's client, or give the socket of a running agent: "
    '`ssh=[firkin.request.SshAgent("default", (SOCKET,))]`',
    "ssh-passphrase": "a key with a passphrase must be added to an agent: `ssh-add KEY`, then "
    '`ssh=[firkin.request.SshAgent("default", (SOCKET,))]`',
    "unpack-entries": "where that is meant, allow more with `max-entries` in the table `unpack` of config.toml",
    "unpack-size": "where that is meant, allow more with `max-size` in the table `unpack` of config.toml",
    "epoch": "`source_date_epoch=SECONDS` sets it",
    "epoch-of-both": "only times differ: build both with SOURCE_DATE_EPOCH (`source_date_epoch=SECONDS`)",
    "rewrite-timestamp": "only times differ: `rewrite_timestamp=True` makes those of copied files equal as well",
    "builds": "the command `firkin builds ls` lists the builds that are recorded",
    "copy-gzip": "write it in the OCI format, or compress it again with gzip",
    "copy-platform": "choose one platform",
    "images": "`firkin.list_images()` returns what is in the store",
    "objects": "the containers, images and volumes of `firkin.connect()` have methods `list`",
    "no-cache": "build again with `no_cache=True`",
    "no-cache-or-pull": "build again with `no_cache=True`, or remove the image and pull it again",
    "no-cache-or-remove": "remove the image and build again with `no_cache=True`",
    "push-target": "name a place",
    "replace": "`force=True` replaces what is there; or name another place",
    "tag": "an image is taken from the store by its name: `firkin.tag(ID, NAME)` gives it one",
    "disk-full": "the command `firkin prune` frees what is not in use; `root=DIR` moves the store",
    "prune": "the command `firkin prune` tells more",
    "store-full": "free some space with the command `firkin prune`, or move the store with `root=DIR`",
    "store-full-step": "the disk is full where the store is ({store}): the command `firkin prune`, or `root=DIR`, "
    "makes room",
    "store-newer": "use the firkin that made it or a later one, or another place with `root=DIR`",
    "store-one-version": "let one version of firkin use the store at a time, or give each its own with `root=DIR`",
    "store-other": "use another place with `root=DIR`, or remove that one",
    "store-own": "run firkin as {user}, or name a store of your own with `root=DIR`",
    "store-overlay": "put the store on ext4, xfs, btrfs or tmpfs with `root=DIR`; in a container, on a volume",
    "store-place": "`root=DIR` or FIRKIN_ROOT names another place",
    "store-shorter": "directories are nested too deep; a store with a shorter path (`root`) leaves more room",
    "store-writable": "choose a place you may write to with `root=DIR` or FIRKIN_ROOT",
    "insecure-registry": 'it seems to speak plain HTTP: `insecure=("{host}",)` in the RegistrySettings of `registry` '
    "allows that",
    "login": "no credentials for `{host}` were found; the command `firkin login {host}` keeps some",
    "mirror": "is this the registry's host and port, and does it run? "
    "A mirror can stand in for it: `mirrors=(Mirror(REGISTRY, URL),)` in the RegistrySettings of `registry`",
    "mirror-hub": 'where Docker Hub cannot be reached, a mirror can stand in: `mirrors=(Mirror("docker.io", URL),)` '
    "in the RegistrySettings of `registry`, or `registry.mirrors` in config.toml; or a proxy: `HTTPS_PROXY`",
    "tls-ca": 'if you trust it, name its CA: `ca_files=(("{host}", FILE),)` in the RegistrySettings of `registry`, or '
    "`registry.ca` in config.toml",
    "tls-ca-spoken": 'it seems to speak TLS: `ca_files=(("{host}", FILE),)` in the RegistrySettings of `registry` '
    "names its CA",
    "tls-cert": 'it wants a client certificate: `client_certs=(("{host}", CERT, KEY),)` in the RegistrySettings of '
    "`registry`",
    "executor-image": "run in the executor image",
    "host-ids": "this needs root, or subordinate ids: see the command `firkin info`",
    "host-lacks": "the command `firkin info` says what this machine lacks and how to get it",
    "host-sandboxes": "the command `firkin info` says which sandboxes this machine offers and what the others lack",
    "host-ways": "the command `firkin info` lists every way and what it lacks",
    "isolation-chroot": '`isolation="chroot"` builds it; or keep mounts and the context away from `{path}`',
    "isolation-inplace": '`isolation="inplace"` runs them where they can read `{path}`',
    "root-mount": 'before chroot, make it one: `mount --bind DIR DIR`; or choose `isolation="chroot"`',
    "host-more-ids": "the command `firkin info` says how to get more ids",
    "isolation-for-credentials": '`isolation="chroot"`, or in Kubernetes `automountServiceAccountToken: false`, keeps '
    "it from them",
    "limits-warn": '`limits="warn"` goes on without it',
    "service-by-hand": "have whatever starts this machine's services start these containers",
    "service-session": "log in as that user (su and sudo make no session), or have their systemd run always: "
    "`loginctl enable-linger USER`, as root",
    "container-damaged": "remove {id} by force, with the command `firkin rm`",
    "container-network": 'choose `network_mode="host"`, `"none"` or `"container:ID"`',
    "container-gpus": "`devices=[PATH]` gives it the device files themselves",
    "container-quota": "leave it out, and put the store on a file system with a quota: `Client(root=DIR)`",
    "bug": "this is a fault of firkin; please report it, with the `traceback` of this error",
    "option-build-context": '`build_contexts["{name}"]`',
    "option-platform": "invalid `platform`",
    "option-ssh": "`ssh`, agent `{id}`",
    "option-verify": "`verify`",
}


def in_own_words(call: Callable[P, T]) -> Callable[P, T]:
    """Return the function with the hints of its errors in the words of the API."""

    @wraps(call)
    def worded(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except FirkinError as error:
            error.put(API)
            raise

    return worded


def found_or_missing(call: Callable[P, T]) -> Callable[P, T]:
    """Let a method raise NotFound for a container or volume that is not there, ImageNotFound for an image."""

    @wraps(call)
    def spoken(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except ContainerError as error:
            if error.kind != "missing" or isinstance(error, NotFound):
                raise
            if error.code in ("no-image", "platform-absent"):
                raise ImageNotFound(error.message, code=error.code, hints=error.hints) from None
            raise NotFound(error.message, kind=error.kind, code=error.code, hints=error.hints) from None

    return in_own_words(spoken)
