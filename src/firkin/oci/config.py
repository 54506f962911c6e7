"""Image configurations. Pure.

Spec: image-spec config.md; Docker's additions Healthcheck, OnBuild, Shell and ArgsEscaped
(moby/docker-image-spec). Durations are nanoseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from firkin.oci import codec
from firkin.oci.digest import DiffID, Digest, digest_of, parse_digest
from firkin.oci.platform import Platform

if TYPE_CHECKING:
    from firkin.oci.gojson import Shape

PairMap = tuple[tuple[str, str], ...]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]  # a number of Go's


class Healthcheck(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """`test` is `("NONE",)`, `("CMD", ...)` or `("CMD-SHELL", line)`; empty: inherit."""

    test: tuple[str, ...] = msgspec.field(default=(), name="Test")
    interval_ns: Int64 = msgspec.field(default=0, name="Interval")
    timeout_ns: Int64 = msgspec.field(default=0, name="Timeout")
    start_period_ns: Int64 = msgspec.field(default=0, name="StartPeriod")
    start_interval_ns: Int64 = msgspec.field(default=0, name="StartInterval")
    retries: Int64 = msgspec.field(default=0, name="Retries")


_NO_HEALTHCHECK = Healthcheck()


class History(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One line of `docker history`; `empty_layer` where the step made no layer."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class RuntimeConfig(msgspec.Struct, frozen=True):
    """How containers of the image start: the `config` object. Env is `K=V`, in order."""

    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: PairMap = ()
    stop_signal: str = ""
    args_escaped: bool = False
    healthcheck: Healthcheck | None = None
    on_build: tuple[str, ...] = ()
    shell: tuple[str, ...] | None = None


class ImageConfig(msgspec.Struct, frozen=True):
    """An image configuration; `raw` is its identity: what was pulled, or what `encode` wrote."""

    platform: Platform
    runtime: RuntimeConfig
    diff_ids: tuple[DiffID, ...]
    history: tuple[History, ...] = ()
    created: str = ""
    author: str = ""
    raw: bytes = b""

    @property
    def digest(self) -> Digest:
        """The image id of docker: the digest of the configuration's bytes."""
        return digest_of(self.raw)


class _Rootfs(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    type: str | None = None
    diff_ids: list[str] | None = None


class _Runtime(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    User: str | None = None
    ExposedPorts: dict[str, Any] | None = None
    Env: list[str] | None = None
    Entrypoint: list[str] | str | None = None
    Cmd: list[str] | str | None = None
    Volumes: dict[str, Any] | None = None
    WorkingDir: str | None = None
    Labels: dict[str, str | None] | None = None
    StopSignal: str | None = None
    ArgsEscaped: bool | None = None
    Healthcheck: Healthcheck | None = None
    OnBuild: list[str] | None = None
    Shell: list[str] | str | None = None
    # What Docker wrote before BuildKit; of no use, but known, so that such a configuration is read fast.
    Hostname: object = None
    Domainname: object = None
    AttachStdin: object = None
    AttachStdout: object = None
    AttachStderr: object = None
    Tty: object = None
    OpenStdin: object = None
    StdinOnce: object = None
    Image: object = None


class _Config(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    architecture: str | None = None
    os: str | None = None
    variant: str | None = None
    os_version: str | None = msgspec.field(default=None, name="os.version")
    created: str | None = None
    author: str | None = None
    config: _Runtime | None = None
    rootfs: _Rootfs | None = None
    history: list[History] | None = None
    container: object = None
    container_config: object = None
    docker_version: object = None


def _shape() -> Shape:
    from firkin.oci.gojson import MAP, TEXT_MAP, TEXTS, Shape

    runtime = Shape(
        _Runtime, Env=TEXTS, Entrypoint=TEXTS, Cmd=TEXTS, OnBuild=TEXTS, Shell=TEXTS, Labels=TEXT_MAP,
        ExposedPorts=MAP, Volumes=MAP, Healthcheck=Shape(Healthcheck, Test=TEXTS),
    )
    return Shape(_Config, config=runtime, rootfs=Shape(_Rootfs, diff_ids=TEXTS), history=[Shape(History)])


def parse_config(raw: bytes, what: str = "image configuration") -> ImageConfig:
    """Read an image configuration; raises ValueError naming the key path."""
    data = codec.decode_like_go(raw, _Config, what, _shape)
    runtime = data.config or _Runtime()
    rootfs = data.rootfs or _Rootfs()
    try:
        diff_ids = tuple(DiffID(parse_digest(text)) for text in rootfs.diff_ids or ())
    except ValueError as error:
        raise ValueError(f"{what}: {error} - at `$.rootfs.diff_ids`") from None
    return ImageConfig(
        platform=Platform(
            data.os or "linux", data.architecture or "", data.variant or "", data.os_version or ""
        ),
        runtime=RuntimeConfig(
            user=runtime.User or "",
            exposed_ports=tuple(runtime.ExposedPorts or ()),
            env=tuple(runtime.Env or ()),
            entrypoint=_words(runtime.Entrypoint),
            cmd=_words(runtime.Cmd),
            volumes=tuple(runtime.Volumes or ()),
            working_dir=runtime.WorkingDir or "",
            labels=tuple((key, value or "") for key, value in (runtime.Labels or {}).items()),
            stop_signal=runtime.StopSignal or "",
            args_escaped=bool(runtime.ArgsEscaped),
            healthcheck=None if runtime.Healthcheck == _NO_HEALTHCHECK else runtime.Healthcheck,
            on_build=tuple(runtime.OnBuild or ()),
            shell=_words(runtime.Shell),
        ),
        diff_ids=diff_ids,
        history=tuple(data.history or ()),
        created=data.created or "",
        author=data.author or "",
        raw=raw,
    )


def _words(value: list[str] | str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    return (value,) if isinstance(value, str) else tuple(value)


def field_with_nul(runtime: RuntimeConfig) -> str:
    """Return the key of the first field with a NUL character that RUN steps inherit, or ""."""
    inherited = {
        "Env": runtime.env, "User": (runtime.user,), "WorkingDir": (runtime.working_dir,), "Shell": runtime.shell or (),
        "OnBuild": runtime.on_build,
    }
    return next((key for key, texts in inherited.items() if any("\0" in text for text in texts)), "")


def encode_config(config: ImageConfig) -> ImageConfig:
    """Return the configuration with `raw` written anew from its fields, deterministically."""
    runtime = config.runtime
    inner: dict[str, Any] = {}
    if runtime.user:
        inner["User"] = runtime.user
    if runtime.exposed_ports:
        inner["ExposedPorts"] = {port: {} for port in sorted(runtime.exposed_ports)}
    if runtime.env:
        inner["Env"] = runtime.env
    if runtime.entrypoint is not None:
        inner["Entrypoint"] = runtime.entrypoint
    if runtime.cmd is not None:
        inner["Cmd"] = runtime.cmd
    if runtime.volumes:
        inner["Volumes"] = {path: {} for path in sorted(runtime.volumes)}
    if runtime.working_dir:
        inner["WorkingDir"] = runtime.working_dir
    if runtime.labels:
        inner["Labels"] = dict(sorted(runtime.labels))
    if runtime.stop_signal:
        inner["StopSignal"] = runtime.stop_signal
    if runtime.args_escaped:
        inner["ArgsEscaped"] = True
    if runtime.healthcheck is not None:
        inner["Healthcheck"] = runtime.healthcheck
    if runtime.on_build:
        inner["OnBuild"] = runtime.on_build
    if runtime.shell is not None:
        inner["Shell"] = runtime.shell
    data: dict[str, Any] = {"architecture": config.platform.architecture}
    if config.platform.variant:
        data["variant"] = config.platform.variant
    data["os"] = config.platform.os
    if config.platform.os_version:
        data["os.version"] = config.platform.os_version
    if config.created:
        data["created"] = config.created
    if config.author:
        data["author"] = config.author
    data["config"] = inner
    data["rootfs"] = {"type": "layers", "diff_ids": config.diff_ids}
    data["history"] = config.history
    return msgspec.structs.replace(config, raw=codec.encode(data))
