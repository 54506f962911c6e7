"""`make demo`, as root and as an ordinary user: no daemon, no registry, under a minute."""

import shutil
import time

from support.accounts import Firkin, installation
from support.places import REPOSITORY


def test_demo(firkin: Firkin) -> None:
    checkout = firkin.directory("checkout")
    for name in ("examples/demo", "tests/conformance/bases", ".ci"):
        shutil.copytree(REPOSITORY / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    shims = checkout / ".venv/bin"
    shims.mkdir(parents=True)
    python = installation(firkin.account.uid).python
    for name, command in (("firkin", f"{python} -m firkin"), ("python3", python)):
        (shims / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (shims / name).chmod(0o755)
    firkin.account.give(checkout)
    environment = firkin.environment()
    environment["PATH"] = f"{shims}:{environment['PATH']}"
    begin = time.monotonic()
    for _ in range(2):  # a second run finds what the first one left
        result = firkin.account.run([str(checkout / "examples/demo/run")], env=environment, cwd="/", timeout=120)
        assert result.returncode == 0, result.stdout + result.stderr
        assert "the site answers: <title>Welcome to the demo</title>" in result.stdout
        assert "built again, the same layers: True" in result.stdout
    assert time.monotonic() - begin < 60
    firkin.account.run([str(checkout / ".ci/remove"), str(checkout / "demo-out")], env=environment, cwd="/")
    assert not (checkout / "demo-out").exists()
