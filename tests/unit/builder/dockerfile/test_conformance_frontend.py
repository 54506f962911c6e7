"""The conformance corpus through the front end alone: configurations, and errors that need no engine."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.corpus import load_runner
from support.hints import hints_of
from support.lowering import AMD64, BUSYBOX, FakeResolver, base_image, build

from firkin.builder.dockerfile.lower import NamedContext
from firkin.errors import FirkinError
from firkin.oci.platform import parse_platform
from firkin.source import Source, excerpt

CASES = Path(__file__).parents[3] / "conformance" / "cases"

# Errors that show only when files are read or a command runs.
ENGINE = frozenset(
    """add-missing add-tar-through-link-outside context-missing-file copy-directory-over-file
    copy-file-over-subdirectory
    copy-file-with-slash copy-from-empty-stage copy-from-missing copy-link-chown-name copy-missing
    copy-missing-one-of-two copy-parents-missing copy-subdirectory-over-file copy-symlink-broken
    heredoc-run-last-fails ignore-copy-ignored ignore-copy-in-ignored-directory mount-bind-missing-source
    mount-ssh-required onbuild-failing run-command-not-found run-exec-not-found run-exit-status-exec
    run-fail-shows-output user-unknown-group-run user-unknown-run workdir-file""".split()
)
# `# check=error=true` is the checks' business.
CHECKS = frozenset(("parse-check-error",))


def cases() -> list[str]:
    return sorted(path.name for path in CASES.iterdir() if (path / "case.json").exists())


def _text(name: str, case: dict[str, Any]) -> str:
    dockerfile = case.get("dockerfile", "Dockerfile")
    source = CASES / name / dockerfile
    data = source.read_bytes() if source.exists() else b""
    setup = CASES / name / "setup.json"
    for step in json.loads(setup.read_text()) if setup.exists() else ():
        if step.get("path") == dockerfile and "content" in step:
            data = step["content"].encode()
    return data.decode("utf-8", "surrogateescape")


def _lower(name: str) -> Any:
    case = json.loads((CASES / name / "case.json").read_text())
    contexts = {}
    for key, value in case.get("build_contexts", {}).items():
        is_image = value.startswith(("docker-image://", "oci-layout:"))
        image = base_image("docker.io/library/busybox:latest", BUSYBOX) if is_image else None
        contexts[key] = NamedContext(image)
    platform = case.get("platform", "")
    options = {"platform": parse_platform(platform, AMD64), "platform_requested": True} if platform else {}
    return build(
        _text(name, case),
        FakeResolver(contexts=contexts),
        build_args=case.get("build_args", {}),
        labels=case.get("labels", {}),
        target=case.get("target", ""),
        contexts=tuple(contexts),
        **options,
    )


@pytest.mark.parametrize("name", cases())
def test_case(name: str) -> None:
    case = json.loads((CASES / name / "case.json").read_text())
    if case.get("expect") == "error":
        if name in ENGINE | CHECKS:
            _lower(name)
            return
        with pytest.raises(FirkinError) as caught:
            _lower(name)
        error = caught.value
        message = " ".join([str(error), *hints_of(error)]).lower()
        if error.span is not None and error.span.name == "Dockerfile":  # people see the lines as well
            message += excerpt(Source("Dockerfile", _text(name, case)), error.span).lower()
        for wanted in case.get("error_contains", ()):
            assert any(part.lower() in message for part in wanted.split("|")), message
        return
    expected = json.loads((CASES / name / "expected.json").read_text())["config"]
    expected.pop("created", None)
    found = load_runner().normalize_config(json.loads(_lower(name).encoded_config()), False)
    assert found == expected
