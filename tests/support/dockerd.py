"""A dockerd of Debian's docker.io, below a directory of its own. Does I/O."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE_S = 120


@dataclass(frozen=True)
class Docker:
    """The docker command line with a daemon to talk to."""

    host: str

    def run(self, *words: object, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `docker WORDS` and return its output."""
        options = {"capture_output": True, "text": True, "timeout": PATIENCE_S, **options}
        done = subprocess.run(["docker", "-H", self.host, *map(str, words)], **options)
        assert not check or done.returncode == 0, f"docker {words}: {done.stdout}{done.stderr}"
        return done

    def inspect(self, name: str) -> dict[str, Any]:
        """Return what `docker image inspect` says of an image."""
        (document,) = json.loads(self.run("image", "inspect", name).stdout)
        return dict(document)


@contextmanager
def running_dockerd(place: Path) -> Iterator[Docker]:
    """Start a dockerd below `place`; it has no network and cannot run containers in other directories."""
    place.mkdir(parents=True)
    docker = Docker(f"unix://{place}/docker.sock")
    words = [
        "dockerd", "-H", docker.host, "--data-root", f"{place}/data", "--exec-root", f"{place}/run", "-p", f"{place}/pid",
        "--bridge", "none", "--iptables=false", "--storage-driver", "vfs",
    ]  # fmt: skip
    with open(place / "dockerd.log", "wb") as log:
        daemon = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        for _ in range(10 * PATIENCE_S):
            if docker.run("info", check=False).returncode == 0:
                break
            assert daemon.poll() is None, (place / "dockerd.log").read_text()
            time.sleep(0.1)
        else:
            raise AssertionError("dockerd does not start")
        yield docker
    finally:
        daemon.terminate()
        daemon.wait(60)
        shutil.rmtree(place / "data", ignore_errors=True)
