"""Image configurations. Pure.

Spec: image-spec config.md; Docker's additions Healthcheck, OnBuild, Shell and ArgsEscaped
(moby/docker-image-spec). Durations are nanoseconds. Annotations are no texts here: msgspec would have to evaluate each,
which took longer than all else that is read of an image when a container starts.
"""

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from firkin.oci import codec
from firkin.oci.digest import DiffID, Digest, digest_of, parse_digest
from firkin.oci.platform import Platform

if TYPE_CHECKING:
    from firkin.oci.gojson import Shape

PairMap = tuple[tuple[str, str], ...]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]  # Go's int64


class Healthcheck(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """`test` is `("NONE",)`, `("CMD", ...)` or `("CMD-SHELL", line)`; empty: inherit."""

    test: tuple[str, ...] = msgspec.field(default=(), name="Test")
    interval_ns: Int64 = msgspec.field(default=0, name="Interval")
    timeout_ns: Int64 = msgspec.field(default=0, name="Timeout")
    start_period_ns: Int64 = msgspec.field(default=0, name="StartPeriod")
    start_interval_ns: Int64 = msgspec.field(default=0, name="StartInterval")
    retries: Int64 = msgspec.field(default=0, name="Retries")


_Check = Healthcheck  # a field has this name
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
    """An image configuration; `raw` is its identity: the pulled bytes, or those that `encode_config` wrote."""

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
    Healthcheck: _Check | None = None
    OnBuild: list[str] | None = None
    Shell: list[str] | str | None = None
    # Docker wrote these before BuildKit. They are unused, but declared, so that such a configuration is read fast.
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


def _shape() -> "Shape":
    from firkin.oci.gojson import MAP, TEXT_MAP, TEXTS, Shape

    runtime = Shape(
        _Runtime, Env=TEXTS, Entrypoint=TEXTS, Cmd=TEXTS, OnBuild=TEXTS, Shell=TEXTS, Labels=TEXT_MAP,
        ExposedPorts=MAP, Volumes=MAP, Healthcheck=Shape(Healthcheck, Test=TEXTS),
    )
    return Shape(_Config, config=runtime, rootfs=Shape(_Rootfs, diff_ids=TEXTS), history=[Shape(History)])


def parse_config(raw: bytes, what: str = "image configuration") -> ImageConfig:
    """Read an image configuration; raises ValueError naming the key path."""
    data = codec.decode_like_go(raw, _Config, what, _shape)
    return ImageConfig(
        platform=Platform(
            data.os or "linux", data.architecture or "", data.variant or "", data.os_version or ""
        ),
        runtime=_runtime(data.config or _Runtime()),
        diff_ids=_diff_ids(data.rootfs or _Rootfs(), what),
        history=tuple(data.history or ()),
        created=data.created or "",
        author=data.author or "",
        raw=raw,
    )


def _diff_ids(rootfs: _Rootfs, what: str) -> tuple[DiffID, ...]:
    try:
        return tuple(DiffID(parse_digest(text)) for text in rootfs.diff_ids or ())
    except ValueError as error:
        raise ValueError(f"{what}: {error} - at `$.rootfs.diff_ids`") from None


def _runtime(data: _Runtime) -> RuntimeConfig:
    return RuntimeConfig(
        user=data.User or "",
        exposed_ports=tuple(data.ExposedPorts or ()),
        env=tuple(data.Env or ()),
        entrypoint=_words(data.Entrypoint),
        cmd=_words(data.Cmd),
        volumes=tuple(data.Volumes or ()),
        working_dir=data.WorkingDir or "",
        labels=tuple((key, value or "") for key, value in (data.Labels or {}).items()),
        stop_signal=data.StopSignal or "",
        args_escaped=bool(data.ArgsEscaped),
        healthcheck=None if data.Healthcheck == _NO_HEALTHCHECK else data.Healthcheck,
        on_build=tuple(data.OnBuild or ()),
        shell=_words(data.Shell),
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
    inner = _without_empty({
        "User": runtime.user,
        "ExposedPorts": {port: {} for port in sorted(runtime.exposed_ports)},
        "Env": runtime.env,
        "Entrypoint": runtime.entrypoint,
        "Cmd": runtime.cmd,
        "Volumes": {path: {} for path in sorted(runtime.volumes)},
        "WorkingDir": runtime.working_dir,
        "Labels": dict(sorted(runtime.labels)),
        "StopSignal": runtime.stop_signal,
        "ArgsEscaped": runtime.args_escaped,
        "Healthcheck": runtime.healthcheck,
        "OnBuild": runtime.on_build,
        "Shell": runtime.shell,
    })
    data = _without_empty({
        "architecture": config.platform.architecture,
        "variant": config.platform.variant,
        "os": config.platform.os,
        "os.version": config.platform.os_version,
        "created": config.created,
        "author": config.author,
        "config": inner,
        "rootfs": {"type": "layers", "diff_ids": config.diff_ids},
        "history": config.history,
    })
    return msgspec.structs.replace(config, raw=codec.encode(data))


# Keys that are written even if their value is empty, but not if it is None (Entrypoint, Cmd and Shell may be).
_WRITTEN_EMPTY = frozenset(("architecture", "os", "config", "history", "Entrypoint", "Cmd", "Shell"))


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value for key, value in fields.items() if value or (key in _WRITTEN_EMPTY and value is not None)
    }
