"""Flags of an executor and its surroundings → BuildRequest. Does I/O. `cli` may import it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal, cast

import msgspec

from firkin.ambient import Ambient, absolute, auth_files, config_files, registry_settings, request_template, store_root
from firkin.builder.request import KANIKO, BuildRequest, CacheRef, Output, RunOptions, Secret
from firkin.cli import values
from firkin.cli.kaniko.context import Location, bucket_context, translate_context
from firkin.cli.kaniko.parse import Values
from firkin.cli.requests import secret_value
from firkin.errors import UsageError
from firkin.linux.harden import in_executor_image
from firkin.oci.reference import Reference, parse_reference
from firkin.registry.settings import Mirror, RegistrySettings
from firkin.settings import read_settings
from firkin.store.rules import HistoryRules

DUMMY_DESTINATION = "docker.io/unset-repo/unset-image-name"
_HUB = frozenset(("docker.io", "index.docker.io", "registry-1.docker.io"))
_HELPERS = ("env", "google", "ecr", "acr", "gitlab")


def executor_registry(flags: Values, ambient: Ambient) -> RegistrySettings:
    """Return the settings of registries: config.toml, then the environment in the executor's order, then flags."""
    environ, cwd = ambient.environ, ambient.cwd
    base = read_settings(config_files(ambient), "", registry_settings(ambient)).registry
    everywhere = flags.flag("skip-tls-verify")
    pushing = "push-retry" in flags
    # GitLab passes a variable of the type File as the path of a file.
    in_a_file = environ.get("DOCKER_AUTH_CONFIG", "")
    in_a_file = in_a_file if in_a_file.startswith("/") and os.path.isfile(in_a_file) else ""
    return msgspec.structs.replace(
        _with_mirrors(base, flags),
        insecure=base.insecure + flags.many("insecure-registry"),
        insecure_pull=flags.flag("insecure-pull"),
        insecure_push=pushing and flags.flag("insecure"),
        skip_tls_verify=base.skip_tls_verify + flags.many("skip-tls-verify-registry"),
        skip_tls_verify_pull=everywhere or flags.flag("skip-tls-verify-pull"),
        skip_tls_verify_push=everywhere,
        ca_files=base.ca_files
        + tuple((host, absolute(cwd, file)) for host, file in flags.pairs("registry-certificate").items()),
        client_certs=base.client_certs + tuple(_client_certificates(flags, cwd)),
        auth_json="" if in_a_file else base.auth_json,
        auth_files=((in_a_file,) if in_a_file else ()) + _auth_files(ambient),
        credential_helpers=_helpers(flags),
        pull_retries=max(flags.number("image-download-retry"), _number(flags, "image-fs-extract-retry")),
        push_retries=_number(flags, "push-retry"),
        ignore_immutable_tags=pushing and flags.flag("push-ignore-immutable-tag-errors"),
        user_agent_suffix=environ.get("UPSTREAM_CLIENT_TYPE", ""),
    )


def _with_mirrors(base: RegistrySettings, flags: Values) -> RegistrySettings:
    """Add the mirrors of flags; they replace those of config.toml for the same registry."""
    mirrors = [Mirror(_source(name), place.rstrip("/")) for name, place in flags.lists("registry-map")]
    mirrors += [Mirror("docker.io", place.rstrip("/")) for place in flags.many("registry-mirror") if place]
    if not mirrors:
        return base
    named = {mirror.registry for mirror in mirrors}
    mirrors += [mirror for mirror in base.mirrors if mirror.registry not in named]
    fallback = not flags.flag("skip-default-registry-fallback")
    return msgspec.structs.replace(base, mirrors=tuple(mirrors), mirror_fallback=fallback)


def _number(flags: Values, name: str) -> int:
    """Return the number of a flag that some programs lack."""
    return flags.number(name) if name in flags else 0


def _source(registry: str) -> str:
    return "docker.io" if registry in _HUB else registry


def _client_certificates(flags: Values, cwd: str) -> list[tuple[str, str, str]]:
    found = []
    for host, pair in flags.pairs("registry-client-cert").items():
        cert, comma, key = pair.partition(",")
        if not (cert and comma and key):
            raise UsageError(f"flag `--registry-client-cert`: `{host}={pair}` is not HOST=CERT,KEY")
        found.append((host, absolute(cwd, cert), absolute(cwd, key)))
    return found


def _auth_files(ambient: Ambient) -> tuple[str, ...]:
    """Return the paths of credentials: config.json before REGISTRY_AUTH_FILE, unlike in firkin."""
    places = auth_files(ambient)
    return (places[1], places[0], *places[2:]) if ambient.environ.get("REGISTRY_AUTH_FILE") else places


def _helpers(flags: Values) -> tuple[str, ...]:
    chosen = flags.many("credential-helpers") if flags.given("credential-helpers") else _HELPERS
    for name in chosen:
        if name and name not in _HELPERS:
            raise UsageError(f"unknown credential helper `{name}`", hints=(f"known are {', '.join(_HELPERS)}",))
    return tuple(filter(None, chosen))


def executor_root(flags: Values, ambient: Ambient) -> str:
    """Return the place of the store: --root, FIRKIN_ROOT, below --kaniko-dir, or firkin's default."""
    if flags.text("root"):
        return absolute(ambient.cwd, flags.text("root"))
    if "kaniko-dir" in flags and flags.text("kaniko-dir"):
        return absolute(ambient.cwd, flags.text("kaniko-dir")).rstrip("/") + "/store"
    return store_root(ambient)


def executor_request(flags: Values, ambient: Ambient) -> BuildRequest:
    """Return the request of an executor's flags; raises UsageError."""
    environ, cwd = ambient.environ, ambient.cwd
    destinations = flags.many("destination")
    names = tuple(destination_of(text) for text in destinations)
    if not destinations:
        _check_without_destination(flags)
    location = _location(flags, ambient)
    registry = executor_registry(flags, ambient)
    if location.skip_tls:
        registry = msgspec.structs.replace(registry, skip_tls_verify=(*registry.skip_tls_verify, location.skip_tls))
    target, *others = _targets(flags)
    cache_from, cache_to, cache_names = _caches(flags, destinations)
    epoch, arguments = _epoch(flags, environ)
    dockerfile, text, ignore = _dockerfile(flags, location, cwd)
    return msgspec.structs.replace(
        request_template(ambient, location.context, executor_root(flags, ambient), registry),
        unpack=read_settings(config_files(ambient), "", RegistrySettings()).unpack,
        dialect=KANIKO,
        dockerfile=dockerfile,
        dockerfile_text=text,
        ignore_text=ignore,
        context_sub_path=location.sub_path,
        git_context=location.git,
        git_depth=location.depth,
        build_args=arguments,
        proxy_args=(),  # proxies of the environment are for registries; RUN gets only those of --build-arg
        labels=tuple(_labelled(item) for item in flags.many("label")),
        allow=("network.host",),  # steps have the network of the container anyway
        annotations=tuple(flags.pairs("annotation").items()),
        target=target,
        also_targets=tuple(others),
        platforms=_platforms(flags),
        tags=destinations,
        outputs=_outputs(flags, cwd, names),
        media_family=_family(flags),
        no_cache=flags.given("cache") and not flags.flag("cache"),
        cache_from=cache_from,
        cache_to=cache_to,
        secrets=_secrets(flags, ambient),
        run=RunOptions(split_output=True),
        source_date_epoch=epoch,
        rewrite_timestamp=flags.flag("reproducible"),
        isolation=flags.text("isolation"),
        squash=flags.flag("single-snapshot"),
        ignore_paths=_ignored(flags),
        image_dir=absolute(cwd, flags.text("cache-dir")),
        plan_only=flags.flag("dryrun"),
        check_push=_names_to_check(flags, destinations, cache_names),
        history=HistoryRules(0, 0) if in_executor_image() else HistoryRules(),  # its store ends with the container
    )


def _check_without_destination(flags: Values) -> None:
    if not flags.flag("no-push"):
        raise UsageError("you must provide --destination, or use --no-push")
    for name in ("image-name-with-digest-file", "image-name-tag-with-digest-file"):
        if flags.text(name):
            raise UsageError(f"you must provide --destination if setting --{name}")


def _targets(flags: Values) -> list[str]:
    """Return the wanted stage ("": the last one), and the others that must build as well."""
    return [part for text in flags.many("target") for part in text.split(",") if part] or [""]


def _epoch(flags: Values, environ: Mapping[str, str]) -> tuple[int | None, tuple[tuple[str, str], ...]]:
    """Return SOURCE_DATE_EPOCH, which is 0 with --reproducible, and the other build arguments."""
    epoch, arguments = values.epoch(_build_args(flags, environ), environ.get("SOURCE_DATE_EPOCH", ""))
    if epoch is None and flags.flag("reproducible") and not dict(arguments).get("SOURCE_DATE_EPOCH"):
        epoch = 0
    return epoch, arguments


def _names_to_check(
    flags: Values, destinations: tuple[str, ...], cache_names: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the names whose repositories must accept pushes."""
    if flags.flag("skip-push-permission-check") or flags.flag("dryrun"):
        return ()
    return cache_names if flags.flag("no-push") else destinations + cache_names


def destination_of(text: str) -> Reference:
    """Parse a name to push to; raises UsageError."""
    try:
        found = parse_reference(text)
    except ValueError as error:
        raise UsageError(f"flag `--destination`: {error}", hints=("e.g. `registry.example.com/app:1.0`",)) from None
    if found.digest is not None:
        raise UsageError(f"flag `--destination`: `{text}` has a digest; it is a name to push to")
    return found


def _location(flags: Values, ambient: Ambient) -> Location:
    text = flags.text("context")
    if flags.text("bucket") and (not flags.given("context") or not text or "://" in text):
        text = bucket_context(flags.text("bucket"))
    if not text:
        raise UsageError("please specify a path to the build context with the --context flag")
    return translate_context(text, flags.text("context-sub-path"), flags.pairs("git"), ambient.environ)


def _dockerfile(flags: Values, location: Location, cwd: str) -> tuple[str, str | None, str | None]:
    """Return the Dockerfile's name; also its text and ignore file if it is a local file and the context is remote."""
    name = flags.text("dockerfile")
    if name.startswith(("http://", "https://")) or os.path.isdir(absolute(cwd, location.context)):
        return name, None, None
    place = absolute(cwd, name)
    if os.path.isfile(place):
        ignore = f"{place}.dockerignore"
        return name, _read(place, name), _read(ignore, f"{name}.dockerignore") if os.path.isfile(ignore) else None
    return name, None, None


def _read(place: str, shown: str) -> str:
    from firkin.linux.files import read_beneath

    directory, _, name = place.rpartition("/")
    try:
        return read_beneath(directory or "/", name).decode("utf-8", "surrogateescape")
    except OSError as error:
        raise UsageError(f"cannot read {shown}: {(error.strerror or '').lower()}") from error


def _build_args(flags: Values, environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    chosen: dict[str, str] = {}
    for text in flags.many("build-arg"):
        key, equals, value = text.partition("=")
        if not text:
            continue  # a script quoted an unset variable
        if not key.strip():
            raise UsageError(f"flag `--build-arg`: `{text}` has no name before `=`")
        # Docker leaves the argument unset instead, but scripts for Kaniko rely on the empty string.
        chosen[key] = value if equals else environ.get(key, "")
    return tuple(chosen.items())


def _labelled(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"flag `--label`: `{text}` is not KEY=VALUE")
    return key, value


def _platforms(flags: Values) -> tuple[str, ...]:
    text = flags.text("custom-platform")
    return (text,) if text else ()


def _family(flags: Values) -> Literal["base", "oci", "docker"]:
    wanted = flags.text("image-format")
    if flags.text("compression") == "zstd":
        if wanted == "docker":
            raise UsageError("--compression=zstd needs --image-format=oci: Docker manifests know no zstd")
        if flags.text("tar-path"):
            raise UsageError("--compression=zstd cannot go with --tar-path: what reads such tars knows no zstd")
        return "oci"
    return cast('Literal["oci", "docker"]', wanted) if wanted else "base"


def _outputs(flags: Values, cwd: str, names: tuple[Reference, ...]) -> tuple[Output, ...]:
    level = flags.number("compression-level")
    common = Output(
        compression=cast('values.Compression', flags.text("compression") or "gzip"),
        compression_level=level if level > 0 else None,
    )
    outputs = []
    if flags.text("oci-layout-path"):
        place = absolute(cwd, flags.text("oci-layout-path"))
        outputs.append(msgspec.structs.replace(common, type="oci", dest=place, tar=False, alone=True))
    if flags.text("tar-path"):
        place = absolute(cwd, flags.text("tar-path"))
        tags = tuple(map(str, names)) or (DUMMY_DESTINATION,)
        outputs.append(msgspec.structs.replace(common, type="docker", dest=place, flat=True, names=tags))
    if not flags.flag("no-push"):
        outputs.append(msgspec.structs.replace(common, type="registry"))
    return tuple(outputs)


def _caches(
    flags: Values, destinations: tuple[str, ...]
) -> tuple[tuple[CacheRef, ...], tuple[CacheRef, ...], tuple[str, ...]]:
    """Return the caches to read and to write, and the repositories that must accept pushes for them."""
    if not flags.flag("cache"):
        return (), (), ()
    place, push = flags.text("cache-repo"), not flags.flag("no-push-cache")
    if not place:
        if flags.flag("no-push") and push:
            raise UsageError("--cache with --no-push needs --cache-repo or --no-push-cache")
        if not destinations:
            raise UsageError("--cache needs --cache-repo where there is no --destination")
        first = destination_of(destinations[0])
        place = f"{first.registry}/{first.repository}/cache"
    local = place.startswith("oci:")
    if not local:
        destination_of(place)
    found = CacheRef(
        "local" if local else "registry",
        place.removeprefix("oci:"),
        mode="max",
        ttl_s=int(flags.seconds("cache-ttl")),
        ignore_error=True,  # Kaniko also only warns about a failed upload
        compression=cast('values.Compression', flags.text("compression") or "gzip"),
        copy_layers=flags.flag("cache-copy-layers"),
        run_layers=flags.flag("cache-run-layers"),
    )
    return (found,), (found,) if push else (), (place,) if push and not local else ()


def _secrets(flags: Values, ambient: Ambient) -> tuple[Secret, ...]:
    secrets: dict[str, Secret] = {}
    for text in flags.many("secret"):
        spec = values.secret(text, ambient.environ)
        if spec.id in secrets:
            raise UsageError(f"flag `--secret`: `{spec.id}` is given twice")
        secrets[spec.id] = Secret(spec.id, secret_value(spec, ambient))
    return tuple(secrets.values())


def _ignored(flags: Values) -> tuple[str, ...]:
    paths = [path.strip("/") for path in flags.many("ignore-path") if path.strip("/")]
    if flags.given("ignore-var-run") and flags.flag("ignore-var-run"):
        paths.append("var/run")
    return tuple(dict.fromkeys(paths))
