"""Look at the demo's image with nothing but the standard library, and say what was found."""

import json
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
from pathlib import Path


def read(archive, name):
    return archive.extractfile(name).read()


def blob(archive, descriptor):
    return read(archive, "blobs/" + descriptor["digest"].replace(":", "/"))


def describe(path):
    """Return manifest and configuration of the one image in an archive."""
    with tarfile.open(path) as archive:
        descriptor = json.loads(read(archive, "index.json"))["manifests"][0]
        manifest = json.loads(blob(archive, descriptor))
        return descriptor["digest"], manifest, json.loads(blob(archive, manifest["config"]))


def expect(what, found, wanted):
    if found != wanted:
        sys.exit(f"error: {what} is {found!r}, not {wanted!r}")
    print(f"  {what}: {found}")


def main(out):
    digest, manifest, image = describe(out / "demo.tar")
    config = image["config"]
    print(f"  image: {digest}, {len(manifest['layers'])} layers")
    expect("environment", [e for e in config["Env"] if e.startswith("COMMIT")], ["COMMIT=demo1234"])
    expect("user", config["User"], "web")
    expect("command", config["Entrypoint"] + config["Cmd"], ["serve", "3000"])
    expect("built again, the same layers", describe(out / "again.tar")[1]["layers"] == manifest["layers"], True)
    pages = sorted(path.name for path in (out / "rootfs/srv/www").iterdir())
    expect("pages", pages, ["about.html", "contact.html", "index.html"])
    # The root file system holds a web server: start it, without any container around it.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    server = subprocess.Popen([out / "rootfs/bin/busybox", "httpd", "-f", "-p", host, "-h", out / "rootfs/srv/www"])
    try:
        time.sleep(0.3)
        with urllib.request.urlopen(f"http://{host}/index.html", timeout=5) as answer:
            expect("the site answers", answer.read().decode().splitlines()[1], "<title>Welcome to the demo</title>")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
