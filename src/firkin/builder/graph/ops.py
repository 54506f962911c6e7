"""Operations: what a step does. Pure. A closed union, to be taken apart with `match`.

Paths in an image are absolute here (`dest` keeps a trailing slash, which means "a directory"). Names of
users stay text, because only the root's passwd says which ids they have. The cache key covers an op as a
whole (see key.py), except for the fields listed there.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from firkin.oci.image import Layer
from firkin.oci.platform import Platform
from firkin.oci.run_settings import Network


class Scratch(msgspec.Struct, frozen=True, tag_field="op", tag="scratch"):
    """An empty root. No inputs."""


class Pull(msgspec.Struct, frozen=True, tag_field="op", tag="pull"):
    """The file system of a base image. No inputs.

    `origin` says where the blobs come from: `docker-image://NAME@DIGEST` or
    `oci-layout://PATH@DIGEST`. Only the layers' diff_ids are its identity.
    """

    origin: str
    platform: Platform
    layers: tuple[Layer, ...]


class Context(msgspec.Struct, frozen=True, tag_field="op", tag="context"):
    """The files of a build context that its ignore file lets through. No inputs; `name` is "" for the main one."""

    name: str = ""


class Http(msgspec.Struct, frozen=True, tag_field="op", tag="http"):
    """One file from http(s), called `filename`; `checksum` is verified where given. No inputs."""

    url: str
    filename: str
    checksum: str = ""


class Git(msgspec.Struct, frozen=True, tag_field="op", tag="git"):
    """The files of a git commit (below `subdir`). No inputs.

    `checksum` is a commit id or a prefix of one, verified where given.
    """

    url: str
    ref: str = ""
    subdir: str = ""
    keep_git_dir: bool = False
    checksum: str = ""
    submodules: bool = True


class BindMount(msgspec.Struct, frozen=True, tag_field="type", tag="bind"):
    """Path `source` of input number `input`, at `target`. Writes are discarded."""

    target: str
    input: int
    source: str = "/"
    readonly: bool = True


class CacheMount(msgspec.Struct, frozen=True, tag_field="type", tag="cache"):
    """A directory that outlives the build, shared by all mounts of one `id`.

    With `mode` -1 a new directory is a copy of path `source` of an `input`, owner and mode included; else it is empty.
    """

    target: str
    id: str
    sharing: Literal["shared", "private", "locked"] = "shared"
    readonly: bool = False
    input: int = -1
    source: str = "/"
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


class TmpfsMount(msgspec.Struct, frozen=True, tag_field="type", tag="tmpfs"):
    """An empty memory file system; `size_bytes` 0 means unlimited."""

    target: str
    size_bytes: int = 0


class SecretMount(msgspec.Struct, frozen=True, tag_field="type", tag="secret"):
    """A secret of the request as a file (`target`), as a variable (`env`), or as both."""

    id: str
    target: str = ""
    env: str = ""
    required: bool = False
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


class SshMount(msgspec.Struct, frozen=True, tag_field="type", tag="ssh"):
    """An agent's socket at `target`; SSH_AUTH_SOCK points to the first one."""

    id: str
    target: str
    required: bool = False
    mode: int = 0o600
    uid: int = 0
    gid: int = 0


Mount = BindMount | CacheMount | TmpfsMount | SecretMount | SshMount


class Run(msgspec.Struct, frozen=True, tag_field="op", tag="run"):
    """A command in the root of input 0; its changes become a layer.

    `env` holds `K=V` in order, arguments included (a later entry wins). `user` is the USER as
    written ("" is root). `files` are texts put at absolute paths for the time of the command
    (a heredoc with a shebang). `proxy_env` and the request's RunOptions are not part of the key.
    """

    argv: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: str = ""
    mounts: tuple[Mount, ...] = ()
    files: tuple[tuple[str, str, int], ...] = ()  # (absolute path, content, mode)
    network: Network = "default"
    insecure: bool = False
    proxy_env: tuple[str, ...] = ()
    hostname: str = ""  # "": the sandbox's own


class PathSource(msgspec.Struct, frozen=True, tag_field="from", tag="path"):
    """Files below input number `input`: a path or, with `wildcard`, a pattern of Go's filepath.Match.

    `path` is absolute within the input and cleaned: `..` stops at the root, a trailing slash is removed.
    A path without `wildcard` must exist. `pivot` is, for --parents, the number of leading path components
    that are not repeated below the destination.
    """

    input: int
    path: str
    wildcard: bool = True
    pivot: int = 0


class TextSource(msgspec.Struct, frozen=True, tag_field="from", tag="text"):
    """A file called `name` with the given content (a heredoc), mode 0644, owner 0:0."""

    name: str
    content: str


class FileSource(msgspec.Struct, frozen=True, tag_field="from", tag="file"):
    """The one file of an Http input (mode 0600, mtime from Last-Modified), or all files of a Git input."""

    input: int


CopySource = PathSource | TextSource | FileSource


class Copy(msgspec.Struct, frozen=True, tag_field="op", tag="copy"):
    """Files from the sources into the root of input 0: COPY and ADD.

    `dest` is absolute; a trailing slash (or `/.`) says that it is a directory. `chown` is
    `user[:group]` as written ("" keeps: 0:0 for context, text and URLs; the source's own
    otherwise - see `keep_owner`). `chmod` is octal or symbolic ("" keeps). `unpack`: "auto"
    unpacks local archives (ADD), "always" and "never" as --unpack says. `link`: the files
    are laid on an empty root and the layer is put above input 0 (COPY --link).
    """

    sources: tuple[CopySource, ...]
    dest: str
    chown: str = ""
    chmod: str = ""
    keep_owner: bool = False
    unpack: Literal["auto", "always", "never"] = "never"
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()


class MakeDir(msgspec.Struct, frozen=True, tag_field="op", tag="mkdir"):
    """The directory `path` and its missing parents in the root of input 0 (WORKDIR).

    New directories get mode 0755 and belong to `user` as written ("" is 0:0).
    """

    path: str
    user: str = ""


Op = Scratch | Pull | Context | Http | Git | Run | Copy | MakeDir
