"""Arguments of `firkin build` → BuildRequest. Does I/O. Only `cli` may import it."""

from __future__ import annotations

from typing import NamedTuple, cast, get_args

import msgspec

from firkin.ambient import Ambient, absolute, config_files, registry_settings, request_template, store_root
from firkin.builder.request import BuildRequest, CacheRef, Call, Output, RunOptions, Secret
from firkin.cli import values
from firkin.cli.arguments import Arguments
from firkin.errors import UsageError
from firkin.layer.limits import UnpackLimits
from firkin.registry.settings import RegistrySettings
from firkin.settings import Settings, read_settings

MAX_SECRET_BYTES = 500 * 1024  # as in BuildKit


def registry_host(arguments: Arguments, command: str) -> str:
    """Return the host of the registry that a command names, "docker.io" for none; a path is dropped, as in docker.

    Raises UsageError.
    """
    if len(arguments.operands) > 1:
        raise UsageError(f"`firkin {command}` takes one registry")
    address = arguments.operands[0] if arguments.operands else "docker.io"
    host = address.removeprefix("https://").removeprefix("http://").partition("/")[0]
    if not host:
        raise UsageError(f"`{address}` is no registry")
    return host


def settings_of(arguments: Arguments, ambient: Ambient) -> Settings:
    """Return the settings of store and registries: of the options, then of config.toml, then of the environment."""
    required = arguments.text("config")
    required = absolute(ambient.cwd, required) if required else ""
    settings = read_settings(config_files(ambient), required, registry_settings(ambient))
    root = arguments.text("root") or settings.root
    return settings._replace(
        root=absolute(ambient.cwd, root) if root else store_root(ambient),
        registry=_registry(settings.registry, arguments, ambient.cwd),
    )


def _registry(base: RegistrySettings, arguments: Arguments, cwd: str) -> RegistrySettings:
    mirrors = tuple(values.mirror(text) for text in arguments.many("registry_mirror"))
    named = {mirror.registry for mirror in mirrors}
    return msgspec.structs.replace(
        base,
        mirrors=mirrors + tuple(mirror for mirror in base.mirrors if mirror.registry not in named),
        mirror_fallback=base.mirror_fallback and not arguments.flag("no_mirror_fallback"),
        insecure=base.insecure + arguments.many("insecure_registry"),
        skip_tls_verify=base.skip_tls_verify + arguments.many("tls_skip_verify"),
        ca_files=base.ca_files
        + tuple((host, absolute(cwd, file)) for host, file in map(values.host_file, arguments.many("tls_ca"))),
        client_certs=base.client_certs
        + tuple(
            (host, absolute(cwd, cert), absolute(cwd, key))
            for host, cert, key in map(values.client_cert, arguments.many("tls_cert"))
        ),
        auth_files=tuple(absolute(cwd, file) for file in arguments.many("auth_file")) + base.auth_files,
        retries=arguments.count("registry_retries", base.retries),
        parallel=max(1, arguments.count("registry_parallel", base.parallel)),
        base_max_age_s=(
            values.duration_s("--base-max-age", arguments.text("base_max_age"))
            if arguments.given("base_max_age")
            else base.base_max_age_s
        ),
    )


def build_request(arguments: Arguments, ambient: Ambient, settings: Settings) -> BuildRequest:
    """Return the request of a `firkin build`; raises UsageError."""
    context = _context("build", arguments)
    environ = ambient.environ
    outputs, insecure = _outputs(arguments)
    args = values.build_args(arguments.many("build_arg"), environ)
    epoch, args = values.epoch(args, arguments.text("source_date_epoch"))
    dockerfile = arguments.text("file")
    if dockerfile == "-" and context == "-":
        raise UsageError("the context and the Dockerfile cannot both come from standard input")
    registry = settings.registry
    if insecure:
        registry = msgspec.structs.replace(registry, insecure_push=True)
    template = request_template(ambient, context, settings.root, registry)
    return msgspec.structs.replace(
        template,
        dockerfile=dockerfile,
        build_contexts=_named(arguments, "build_context", "--build-context"),
        build_args=args,
        labels=_named(arguments, "label", "--label", bare=True),
        annotations=tuple(dict(map(values.annotation, arguments.many("annotation"))).items()),
        target=arguments.text("target"),
        platforms=values.split_list(arguments.many("platform")),
        tags=_tags(arguments),
        outputs=outputs,
        no_cache=arguments.flag("no_cache"),
        no_cache_filter=values.split_list(arguments.many("no_cache_filter")),
        pull=arguments.flag("pull"),
        cache_from=_caches(arguments, "cache_from", "--cache-from"),
        cache_to=_caches(arguments, "cache_to", "--cache-to"),
        explain=arguments.flag("explain"),
        require_cached=arguments.flag("require_cached"),
        secrets=_secrets(arguments, ambient),
        ssh=tuple(values.ssh(text, environ) for text in arguments.many("ssh")),
        allow=values.entitlements(arguments.many("allow")),
        run=RunOptions(
            network=values.network(arguments.text("network")),
            add_hosts=tuple(values.add_host(text) for text in arguments.many("add_host")),
            shm_size_bytes=values.size_bytes("--shm-size", arguments.text("shm_size", "64m")),
            ulimits=tuple(values.ulimit(text) for text in arguments.many("ulimit")),
        ),
        source_date_epoch=epoch,
        rewrite_timestamp=arguments.flag("rewrite_timestamp"),
        unpack=unpack_limits(arguments, settings.unpack),
        isolation=arguments.text("isolation") or settings.isolation or "auto",
        max_parallel_steps=arguments.count("parallel"),
        call=call_of(arguments).method,
        verify=arguments.text("verify"),
        gc=settings.gc,
        history=settings.history,
    )


def unpack_limits(arguments: Arguments, base: UnpackLimits) -> UnpackLimits:
    """Return what one layer or archive may unpack to; raises UsageError."""
    size = arguments.text("max_unpack_size")
    return UnpackLimits(
        values.size_bytes("--max-unpack-size", size) if size else base.size_bytes,
        arguments.count("max_unpack_entries", base.entries),
    )


def check_request(arguments: Arguments, ambient: Ambient, settings: Settings) -> BuildRequest:
    """Return the request of a `firkin check`; raises UsageError."""
    context = _context("check", arguments) if arguments.operands else "."
    return msgspec.structs.replace(
        request_template(ambient, context, settings.root, settings.registry),
        dockerfile=arguments.text("file"),
        build_contexts=_named(arguments, "build_context", "--build-context"),
        build_args=values.build_args(arguments.many("build_arg"), ambient.environ),
        target=arguments.text("target"),
        platforms=values.split_list(arguments.many("platform")),
        call="check",
        check_compat=arguments.many("compat"),
    )


def _context(command: str, arguments: Arguments) -> str:
    operands = arguments.operands
    if len(operands) != 1:
        words = ", ".join(f"`{word}`" for word in operands)
        given = f"{len(operands)} were given: {words}" if operands else "none was given"
        example = "firkin build -t app:1 ." if command == "build" else f"firkin {command} ."
        raise UsageError(
            f"`firkin {command}` needs one context, {given}",
            hints=(f"the context is a directory, a URL or `-`, e.g. `{example}`",),
        )
    if not operands[0]:
        raise UsageError("the context is empty", hints=("write `.` for the current directory",))
    return operands[0]


def _named(arguments: Arguments, dest: str, option: str, *, bare: bool = False) -> tuple[tuple[str, str], ...]:
    pairs: dict[str, str] = {}
    for text in arguments.many(dest):
        key, value = values.key_value(option, text)
        if not bare and "=" not in text:
            raise UsageError(f"option `{option}`: `{text}` is not NAME=VALUE")
        pairs[key] = value
    return tuple(pairs.items())


def _tags(arguments: Arguments) -> tuple[str, ...]:
    from firkin.oci.reference import parse_reference

    for text in arguments.many("tag"):
        _checked_name("--tag", text)
        if parse_reference(text).digest is not None:
            raise UsageError(f"option `--tag`: `{text}` has a digest; a tag is given before the digest is known")
    return arguments.many("tag")


def _checked_name(option: str, text: str) -> None:
    from firkin.oci.reference import parse_reference

    if text.startswith("sha256:"):  # docker also refuses such a tag
        raise UsageError(f"option `{option}`: `{text}` looks like a digest, and cannot be a name")
    try:
        parse_reference(text)
    except ValueError as error:
        raise UsageError(f"option `{option}`: {error}") from None


def _outputs(arguments: Arguments) -> tuple[tuple[Output, ...], bool]:
    """Return the outputs, and whether the registry is insecure."""
    outputs: list[Output] = []
    insecure = False
    for text in arguments.many("output"):
        from firkin.cli.outputs import read_output

        asked, is_insecure = read_output(text)
        insecure = insecure or is_insecure
        for name in (name for output in asked for name in output.names):
            _checked_name("--output", name)
        outputs += asked
    _add_implied(outputs, arguments)
    _check_together(outputs, arguments)
    return tuple(outputs), insecure


def _add_implied(outputs: list[Output], arguments: Arguments) -> None:
    """Add the outputs of `--push`, of `--load` and of a command line without `--output`."""
    by_type = {output.type: output for output in reversed(outputs)}
    if arguments.flag("push") and "registry" not in by_type:
        outputs.append(msgspec.structs.replace(by_type.get("store", Output()), type="registry"))
    if (arguments.flag("load") and "store" not in by_type) or not (outputs or arguments.given("output")):
        outputs.append(Output())


def _check_together(outputs: list[Output], arguments: Arguments) -> None:
    for output in outputs:
        if output.type == "registry" and not (output.names or arguments.many("tag")):
            raise UsageError("an image that is pushed needs a name",
                             hints=("name it with `-t REGISTRY/REPOSITORY:TAG`",))  # fmt: skip
    if sum(output.dest == "-" for output in outputs) > 1:
        raise UsageError("only one output can go to standard output")


def _caches(arguments: Arguments, dest: str, option: str) -> tuple[CacheRef, ...]:
    caches = tuple(values.cache_ref(option, text) for text in arguments.many(dest))
    for cache in caches:
        if cache.type == "registry":
            _checked_name(option, cache.ref)
    return caches


def _secrets(arguments: Arguments, ambient: Ambient) -> tuple[Secret, ...]:
    secrets: dict[str, Secret] = {}
    for text in arguments.many("secret"):
        spec = values.secret(text, ambient.environ)
        secrets[spec.id] = Secret(spec.id, secret_value(spec, ambient))
    return tuple(secrets.values())


def secret_value(spec: values.SecretSpec, ambient: Ambient) -> bytes:
    """Read a secret from its file or variable; raises UsageError."""
    if spec.variable:
        if spec.variable not in ambient.environ:
            raise UsageError(f"secret `{spec.id}`: the environment variable `{spec.variable}` is not set")
        return ambient.environ[spec.variable].encode()
    from firkin.linux.files import read_named

    path = absolute(ambient.cwd, spec.path)
    try:
        return read_named(path, MAX_SECRET_BYTES)
    except OSError as error:
        raise UsageError(f"secret `{spec.id}`: cannot read {spec.path}: {(error.strerror or '').lower()}") from error


class CallOption(NamedTuple):
    """The call of `--check` or `--call`; `ignore_status`: exit with 0 whatever the answer is."""

    method: Call
    as_json: bool = False
    ignore_status: bool = False


def call_of(arguments: Arguments) -> CallOption:
    """Read `--check` and `--call`. Raises UsageError."""
    if not arguments.given("call"):
        return CallOption("check" if arguments.flag("check") else "build")
    method, *fields = values.csv_fields("--call", arguments.text("call"))
    name = {"lint": "check"}.get(method, method)
    if name not in get_args(Call):
        raise UsageError(f"option `--call` cannot be `{method}`", hints=("it is build, check, outline or targets",))
    as_json = ignore_status = False
    for field in fields:
        key, equals, value = field.partition("=")
        if key == "format" and value in ("json", "text"):
            as_json = value == "json"
        elif key == "ignorestatus" and (not equals or value.lower() in ("true", "1", "false", "0")):
            ignore_status = value.lower() not in ("false", "0")
        else:
            raise UsageError(
                f"option `--call`: unknown field `{field}`", hints=("it is format=json, format=text or ignorestatus",)
            )
    if arguments.flag("check") and name != "check":
        raise UsageError(f"options `--check` and `--call={method}` exclude each other")
    return CallOption(cast(Call, name), as_json, ignore_status)
