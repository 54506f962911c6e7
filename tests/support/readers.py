"""Read images with tools that are not firkin: skopeo, umoci, runc, buildah, GNU tar."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.registry import Registry


def tool(*command: str | os.PathLike[str], env: dict[str, str] | None = None) -> str:
    """Run a tool and return its output; if the tool fails, so does the test, with the tool's message."""
    argv = [os.fspath(part) for part in command]
    result = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        timeout=120,
    )
    assert result.returncode == 0, f"{' '.join(argv)} ended with {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stdout


def skopeo_inspect(source: str) -> dict[str, Any]:
    """Return the answer of `skopeo inspect` for docker://… or oci:…."""
    options = ["--tls-verify=false"] if source.startswith("docker:") else []
    return dict(json.loads(tool("skopeo", "inspect", *options, source)))


def pull_layout(registry: Registry, name: str, place: Path) -> Path:
    """Copy an image out of the registry into an OCI layout with skopeo, which verifies all digests."""
    tool(
        "skopeo",
        "--insecure-policy",
        "copy",
        "--src-tls-verify=false",
        f"docker://{registry.reference(name)}",
        f"oci:{place}:image",
    )
    return place


def unpack(layout: Path, place: Path) -> Path:
    """Unpack a layout's `image` into a runtime bundle with umoci; rootless if the tests are."""
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    tool("umoci", "unpack", *rootless, "--image", f"{layout}:image", place)
    return place


@dataclass(frozen=True)
class Member:
    """One entry of a layer as GNU tar lists it: `mode` like -rwxr-xr-x, `owner` like 0/0."""

    mode: str
    owner: str
    size: int
    link: str


def tar_listing(archive: Path) -> dict[str, Member]:
    """Return GNU tar's listing of a layer blob or an archive."""
    found = {}
    line_format = re.compile(r"(\S{10})\S? (\S+) +(\d+|\d+,\d+) \S+ \S+ (.*)")
    for line in tool("tar", "--numeric-owner", "--quoting-style=literal", "-tvf", archive).splitlines():
        match = line_format.fullmatch(line)
        assert match, line
        mode, owner, size, rest = match.groups()
        separator = " -> " if mode[0] == "l" else " link to "
        name, _, link = rest.partition(separator) if mode[0] in "lh" else (rest, "", "")
        found[name.removeprefix("./").rstrip("/")] = Member(mode, owner, int(size.partition(",")[0]), link)
    return found


def layer_listings(layout: Path) -> list[dict[str, Member]]:
    """Return the listing of every layer of a layout's image, the lowest first."""
    index = json.loads((layout / "index.json").read_text())
    blobs = layout / "blobs/sha256"
    manifest = json.loads((blobs / index["manifests"][0]["digest"].partition(":")[2]).read_text())
    return [tar_listing(blobs / layer["digest"].partition(":")[2]) for layer in manifest["layers"]]


# --- running ---------------------------------------------------------------------------------------------------------

ASK = """
import sys, time, urllib.request, urllib.error
for attempt in range(100):
    try:
        sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())
        break
    except urllib.error.HTTPError:
        raise
    except OSError:
        time.sleep(0.1)
else:
    sys.exit("nobody answers at " + sys.argv[1])
"""


@dataclass(frozen=True)
class Container:
    """A process that runc runs in an unpacked image, with its own network."""

    name: str
    state: Path
    process: subprocess.Popen[bytes]
    output: Path

    @property
    def pid(self) -> int:
        return int(tool("runc", "--root", self.state, "state", self.name).partition('"pid": ')[2].partition(",")[0])

    def ask(self, port: int, path: str = "/") -> str:
        """Return the body of a GET from inside the container's network."""
        return tool(
            "nsenter",
            "--target",
            str(self.pid),
            "--net",
            sys.executable,
            "-c",
            ASK,
            f"http://127.0.0.1:{port}{path}",
            env={"no_proxy": "*"},
        )

    def stop(self, timeout: float = 10) -> int:
        """Send TERM to the first process and return runc's exit status, which is the process's."""
        tool("runc", "--root", self.state, "kill", self.name, "TERM")
        return self.process.wait(timeout)


@contextmanager
def running(bundle: Path, arguments: Sequence[str] | None = None) -> Iterator[Container]:
    """Run an unpacked image with runc, according to the image's configuration; needs root."""
    path = bundle / "config.json"
    spec = json.loads(path.read_text())
    spec["process"]["terminal"] = False
    if arguments is not None:
        spec["process"]["args"] = list(arguments)
    path.write_text(json.dumps(spec))
    state, output = bundle / "runc-state", bundle / "output"
    name = f"firkin-{os.getpid()}-{time.monotonic_ns()}"
    with open(output, "wb") as sink:
        process = subprocess.Popen(
            ["runc", "--root", str(state), "run", "--bundle", str(bundle), name],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 20
        while not (state / name / "state.json").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        yield Container(name, state, process, output)
    finally:
        subprocess.run(["runc", "--root", str(state), "delete", "--force", name], capture_output=True)
        process.kill()
        process.wait()


def run_to_end(bundle: Path, *arguments: str) -> str:
    """Run a command in an unpacked image and return its output; needs root."""
    with running(bundle, arguments) as container:
        status = container.process.wait(30)
        told = container.output.read_text(errors="surrogateescape")
    assert status == 0, f"{arguments} ended with {status}: {told}"
    return told


def buildah_reads(source: str, place: Path) -> dict[str, Any]:
    """Let `buildah from` read an image, and return the configuration as buildah understood it."""
    storage = ["--root", str(place / "storage"), "--runroot", str(place / "run"), "--storage-driver", "vfs"]
    policy = place / "policy.json"
    place.mkdir(parents=True, exist_ok=True)
    policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    container = tool("buildah", *storage, "from", "--signature-policy", policy, "--tls-verify=false", source).strip()
    inspected = dict(json.loads(tool("buildah", *storage, "inspect", container)))
    tool("buildah", *storage, "rm", container)
    return inspected
