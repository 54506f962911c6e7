"""The request for a build and its result, with their JSON codec. Pure.

One BuildRequest serves the command line, the Kaniko executor and the Python API. It holds everything
that comes from the environment (paths, variables, clock): nothing below `worker` reads the environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from firkin.decode import decode_json
from firkin.errors import UsageError
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.oci.run_settings import Network, Ulimit
from firkin.registry.settings import RegistrySettings
from firkin.store.rules import GcRules, HistoryRules
from firkin.text import FIRST_S, LATEST_S, Pairs, is_valid

Call = Literal["build", "check", "outline", "targets"]
OutputType = Literal["store", "registry", "docker", "oci", "tar", "local"]


class Output(msgspec.Struct, frozen=True):
    """Where a result goes. Mirrors: `docker buildx build --output`.

    `dest` is a path ("-": standard output; "" where the type needs none). `names` replaces the
    request's tags for this output. `tar` False writes a directory (type oci). With `own_epoch` its time is `epoch_s`
    (None: it has none), whatever SOURCE_DATE_EPOCH is. `rewrite_timestamp` None: as the request has it.
    """

    type: OutputType = "store"
    dest: str = ""
    names: tuple[str, ...] = ()
    tar: bool = True
    compression: Literal["gzip", "zstd", "none"] = "gzip"
    compression_level: int | None = None
    force_compression: bool = False
    media_family: Literal["", "oci", "docker"] = ""  # "": the default of the type (oci, but docker for type docker)
    push_by_digest: bool = False
    annotations: Pairs = ()
    mode_delete: bool = False  # type local: remove what the image does not have
    platform_split: bool | None = None  # types local, tar: a directory for each platform; None: if there are several
    flat: bool = False  # type docker: layers as files beside each other, as `docker save` wrote them before 25
    alone: bool = False  # type oci, a directory: its index lists this image only, without a name
    own_epoch: bool = False
    epoch_s: int | None = None
    rewrite_timestamp: bool | None = None


class Secret(msgspec.Struct, frozen=True):
    """A secret's value for RUN --mount=type=secret. Its repr never shows the value."""

    id: str
    value: bytes

    def __repr__(self) -> str:
        return f"Secret(id={self.id!r}, value=<{len(self.value)} bytes>)"


class SshAgent(msgspec.Struct, frozen=True):
    """An agent's socket (`path`), or private keys to serve from an agent of firkin's own."""

    id: str
    paths: tuple[str, ...]


class RunOptions(msgspec.Struct, frozen=True):
    """The settings of every RUN step that are no part of its cache key."""

    network: Network = "default"
    add_hosts: Pairs = ()  # (name, address)
    shm_size_bytes: int = 64 * 1024 * 1024
    ulimits: tuple[Ulimit, ...] = ()
    dns: tuple[str, ...] = ()
    split_output: bool = False  # keep standard error apart; the order between the two streams is then lost


class CacheRef(msgspec.Struct, frozen=True):
    """A cache to read or write beside the store: `--cache-from`, `--cache-to`."""

    type: Literal["registry", "local", "inline"]
    ref: str = ""  # image reference or directory
    mode: Literal["min", "max"] = "min"
    ttl_s: int = 0  # 0: entries never expire
    ignore_error: bool = False
    compression: Literal["gzip", "zstd", "none"] = "gzip"
    copy_layers: bool = True
    run_layers: bool = True
    mounts: bool = False  # save and restore the cache mounts of RUN as well
    max_mount_bytes: int = 2 * 1024**3  # a cache mount that is larger is not saved


class Dialect(msgspec.Struct, frozen=True):
    """Where builders read a Dockerfile and its context in different ways."""

    labels_yield: bool = False  # LABEL instructions of the target stage win over `labels`
    make_volumes: bool = False  # VOLUME makes its directories, as classic builders do
    loose_from: bool = False  # FROM ignores the case of stage names, and empty arguments count as unset
    ignore_everywhere: bool = False  # .dockerignore applies also to contexts that are no local directory


BUILDKIT = Dialect()
KANIKO = Dialect(labels_yield=True, make_volumes=True, loose_from=True, ignore_everywhere=True)


class BuildRequest(msgspec.Struct, frozen=True):
    """Everything that one build depends on."""

    context: str
    store_root: str
    dockerfile: str = ""  # path; "": `Dockerfile` in the context; "-": standard input
    dockerfile_text: str | None = None  # instead of a file
    ignore_text: str | None = None  # the ignore file that goes with it; wins over those of the context
    cwd: str = "/"  # what relative paths start from
    context_sub_path: str = ""
    build_contexts: Pairs = ()
    build_args: Pairs = ()
    proxy_args: Pairs = ()  # predefined proxy arguments of the environment, given to RUN only
    labels: Pairs = ()
    dialect: Dialect = BUILDKIT
    annotations: Pairs = ()
    target: str = ""
    also_targets: tuple[str, ...] = ()  # stages that are built as well, but go to no output
    platforms: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    outputs: tuple[Output, ...] = (Output(),)
    no_cache: bool = False
    no_cache_filter: tuple[str, ...] = ()
    pull: bool = False
    cache_from: tuple[CacheRef, ...] = ()
    cache_to: tuple[CacheRef, ...] = ()
    explain: bool = False  # say of each step that is not cached what differs from last time
    require_cached: bool = False  # fail where a step would have to run
    secrets: tuple[Secret, ...] = ()
    ssh: tuple[SshAgent, ...] = ()
    allow: tuple[str, ...] = ()
    run: RunOptions = RunOptions()
    unpack: UnpackLimits = UNPACK_LIMITS
    source_date_epoch: int | None = None
    rewrite_timestamp: bool = False
    now_s: float = 0.0  # clock at the start; `created` of the image
    gc: GcRules = GcRules()
    history: HistoryRules = HistoryRules()
    isolation: Literal["auto", "namespaces", "chroot", "inplace"] = "auto"
    registry: RegistrySettings = RegistrySettings()
    git_context: bool = False  # the context's address is that of a git repository, whatever it looks like
    git_depth: int = 1  # how many commits the `.git` of a git context has; 0: all
    git_environ: Pairs = ()  # GIT_* and ssh settings for git contexts; secret
    object_store_environ: Pairs = ()  # AWS_*, S3_*, AZURE_*, GOOGLE_* for blob contexts; secret
    max_parallel_steps: int = 0  # 0: as many as the machine has cores, at least 2
    call: Call = "build"
    check_compat: tuple[str, ...] = ()  # other builders; `check` warns of what they do differently
    verify: str = ""  # reference or digest that the result is compared with; nothing is written then
    plan_only: bool = False  # list the steps and stop
    check_push: tuple[str, ...] = ()  # names whose repositories must take pushes, or nothing is built
    media_family: Literal["", "base", "oci", "docker"] = ""  # of outputs without one; base: that of the base image
    squash: bool = False  # one layer for all of the target stage's instructions
    ignore_paths: tuple[str, ...] = ()  # image paths left out of new layers
    private_paths: tuple[str, ...] = ()  # files and directories that no step may read, beside `registry.auth_files`
    image_dir: str = ""  # an OCI layout where blobs of base images are looked for before registries are asked
    temp_dir: str = ""


class ImageResult(msgspec.Struct, frozen=True):
    """The image that was made; `names` are the canonical references that it got.

    For several platforms it is their index, which has no configuration and no platform of its own.
    """

    digest: str
    config_digest: str
    media_type: str
    names: tuple[str, ...]
    platform: str
    size_bytes: int
    config: msgspec.Raw = msgspec.Raw(b"{}")


class StepResult(msgspec.Struct, frozen=True):
    """One step in the order of the plan: how it ended and what it cost.

    `diff_id` and `size_bytes` (compressed) are of the layer that it made in the image; a step of another stage,
    one without a layer and all steps of a squashed image have "" and 0.
    """

    title: str
    stage: str
    status: Literal["done", "cached"]
    seconds: float
    diff_id: str = ""
    size_bytes: int = 0


class BuildResult(msgspec.Struct, frozen=True):
    """The outcome of a build. `image` is the (first) image, `images` one for each platform."""

    image: ImageResult
    images: tuple[ImageResult, ...]
    steps: tuple[StepResult, ...]
    outputs: tuple[str, ...]  # what was written, one line each
    seconds: float
    metadata: msgspec.Raw = msgspec.Raw(b"{}")  # the document of --metadata-file


_encoder = msgspec.json.Encoder()
# Fields that end in an image, a name or an environment: their text must be UTF-8. Paths may have any bytes, and
# texts of files any characters.
_TEXTS = {
    "build_args": "a build argument", "labels": "a label", "annotations": "an annotation", "target": "the target",
    "also_targets": "a target", "platforms": "a platform", "tags": "a tag", "no_cache_filter": "a stage not to cache",
    "allow": "an entitlement", "outputs.names": "the name of an output", "outputs.annotations": "an annotation",
    "secrets.id": "the id of a secret", "ssh.id": "the id of an SSH agent", "run.add_hosts": "an added host",
    "run.ulimits.name": "a limit", "run.dns": "a name server", "check_push": "a name", "verify": "the image to verify",
}  # fmt: skip
_FILES = ("dockerfile_text", "ignore_text")


# First and last value of fields with numbers; other fields are checked where they are used.
_RANGES: dict[str, tuple[float, float]] = {
    "source_date_epoch": (FIRST_S, LATEST_S),
    "max_parallel_steps": (0, 1 << 31),
    "git_depth": (0, 1 << 31),
    "run.shm_size_bytes": (0, (1 << 63) - 1),
    "run.ulimits.soft": (-1, (1 << 63) - 1),
    "run.ulimits.hard": (-1, (1 << 63) - 1),
    "registry.retries": (0, 1 << 31),
    "registry.timeout_s": (0.001, 1 << 31),
    "registry.parallel": (1, 1 << 31),
    "history.keep_builds": (0, 100_000),
    "history.max_bytes": (0, (1 << 63) - 1),
}  # fmt: skip


def check_request(request: BuildRequest) -> None:
    """Refuse values that an encoder or the kernel would refuse; raises UsageError.

    These are NUL, bytes that are not UTF-8 (except in paths), and numbers out of their range.
    """
    for field, found in _leaves(request, ""):
        what = _TEXTS.get(field, "")
        if not isinstance(found, str):
            first, last = _RANGES.get(field, (found, found))
            if not first <= found <= last:
                raise UsageError(f"`{field}` is {found:.20g}: it goes from {first} to {last}", code="request-range")
            continue
        text = found
        if "\0" in text and field not in _FILES:
            raise UsageError(f"{what or f'`{field}`'} has a NUL character", code="request-nul")
        if what and not is_valid(text):
            raise UsageError(
                f"{what} is not UTF-8 (string field contains invalid UTF-8)",
                code="request-not-utf-8",
                hints=("bytes of another character set have to be converted first: `iconv -t UTF-8`",),
            )


def _leaves(value: object, field: str) -> Iterator[tuple[str, str | float]]:
    """Yield the texts and numbers of a request with the names of their fields."""
    if isinstance(value, (str, int, float)):
        yield field, value
    elif isinstance(value, tuple):
        for item in value:
            yield from _leaves(item, field)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _leaves(getattr(value, name), f"{field}.{name}" if field else name)


def encode_request(request: BuildRequest) -> bytes:
    """Return the request as JSON; raises UsageError. It holds secrets, so it is passed through pipes only."""
    try:
        return _encoder.encode(request)
    except UnicodeEncodeError:
        wrong = next(field for field, found in _leaves(request, "") if isinstance(found, str) and not is_valid(found))
        raise UsageError(
            f"`{wrong}` is not UTF-8, as what is handed to a worker process must be", code="request-not-utf-8"
        ) from None


def decode_request(data: bytes) -> BuildRequest:
    """Read a request; raises msgspec.ValidationError."""
    return decode_json(data, BuildRequest)
