"""The examples, built as root and as an ordinary user, pushed to a registry, and read and run by other tools."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import readers
from support.accounts import Firkin
from support.places import EXAMPLES
from support.registry import Registry

# One process builds all examples of an account: they share its store.
pytestmark = [pytest.mark.registry, pytest.mark.xdist_group("examples"), pytest.mark.clients]

COMMIT = "4f9e2ab"


@dataclass(frozen=True)
class Built:
    """An image that firkin pushed, as the registry and skopeo hand it out."""

    name: str
    layout: Path
    manifest: dict[str, Any]
    image: dict[str, Any]
    metadata: dict[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.image["config"])

    @property
    def environment(self) -> dict[str, str]:
        return dict(entry.split("=", 1) for entry in self.config["Env"])

    def own_layers(self, registry: Registry, base: str) -> list[dict[str, readers.Member]]:
        """Return the listings of the layers that the base does not have."""
        below = len(registry.manifest(base)["layers"])
        return readers.layer_listings(self.layout)[below:]


Build = Callable[..., Built]


@pytest.fixture(scope="module")
def build(shared_firkin: Firkin, language_registry: Registry) -> Build:
    """Build an example and push it; the same example with the same options only once."""
    done: dict[tuple[str, ...], Built] = {}

    def builder(example: str, *options: str) -> Built:
        key = (example, *options)
        if key not in done:
            name = f"{shared_firkin.account.name}/{example}-{len(done)}:1"
            place = shared_firkin.directory(f"{example}-{len(done)}")
            shared_firkin.run(
                "build",
                "-t",
                language_registry.reference(name),
                "--push",
                "--metadata-file",
                place / "metadata.json",
                *options,
                EXAMPLES / example,
            )
            layout = readers.pull_layout(language_registry, name, place / "layout")
            metadata = json.loads((place / "metadata.json").read_text())
            done[key] = Built(name, layout, language_registry.manifest(name), language_registry.config(name), metadata)
        return done[key]

    return builder


LANGUAGES = {
    "node": ("library/node:18", ["node"], ["app.js"]),
    "python": ("library/python:3.11", ["python3"], ["app.py"]),
    "php": ("library/php:8.2-cli", ["php"], ["-S", "0.0.0.0:3000", "app.php"]),
    "ruby": ("library/ruby:3.1", ["ruby"], ["app.rb"]),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_application_image(build: Build, registry: Registry, language: str) -> None:
    base, entrypoint, command = LANGUAGES[language]
    built = build(language, "--build-arg", f"COMMIT_SHORT_HASH={COMMIT}")
    assert built.environment["COMMIT"] == COMMIT
    assert "COMMIT_SHORT_HASH" not in built.environment
    assert built.config["Entrypoint"] == entrypoint
    assert built.config["Cmd"] == command
    assert built.config["WorkingDir"] == "/src"
    assert built.config["ExposedPorts"] == {"3000/tcp": {}}
    below = registry.manifest(base)["layers"]
    assert built.manifest["layers"][: len(below)] == below
    source = built.own_layers(registry, base)[0]
    script = command[-1]
    assert source[f"src/{script}"].owner == "0/0"
    assert source[f"src/{script}"].mode == "-rw-r--r--"
    assert source[f"src/{script}"].size == (EXAMPLES / language / script).stat().st_size
    assert "src/Dockerfile" not in source


@pytest.mark.parametrize("language", LANGUAGES)
def test_registry_and_metadata_agree(build: Build, registry: Registry, language: str) -> None:
    built = build(language, "--build-arg", f"COMMIT_SHORT_HASH={COMMIT}")
    inspected = readers.skopeo_inspect(f"docker://{registry.reference(built.name)}")
    assert inspected["Digest"] == built.metadata["containerimage.digest"]
    assert inspected["Layers"] == [layer["digest"] for layer in built.manifest["layers"]]
    assert f"COMMIT={COMMIT}" in inspected["Env"]


@pytest.mark.root
@pytest.mark.parametrize("language", LANGUAGES)
def test_application_answers(build: Build, scratch: Path, language: str) -> None:
    built = build(language, "--build-arg", f"COMMIT_SHORT_HASH={COMMIT}")
    with readers.running(readers.unpack(built.layout, scratch / "bundle")) as container:
        assert container.ask(3000) == f"{COMMIT}\n"


def test_webserver_image(build: Build, registry: Registry) -> None:
    built = build("webserver")
    assert built.environment["SITE_CONF"] == "/srv/website/conf/site.conf"
    assert built.environment["SITE_ROOT"] == "/srv/website/public"
    assert built.config["ExposedPorts"] == {"8080/tcp": {}}
    assert built.config["WorkingDir"] == "/srv/website"
    assert built.config["StopSignal"] == "SIGTERM"
    assert built.config["Labels"] == {"org.opencontainers.image.title": "website"}
    assert built.config["Entrypoint"] == ["entrypoint.sh"]
    add, script, conf, public, run, *_ = built.own_layers(registry, "library/gcc:12")
    assert add["tmp/microhttpd-1.0/microhttpd.c"].owner == "0/0"
    assert "tmp/package.tgz" not in add
    assert script["usr/local/bin/entrypoint.sh"].mode == "-rwxr-xr-x"
    assert "srv/website/conf/site.conf" in conf
    assert public["srv/website/public/style"].mode == "drwxr-xr-x"
    assert run["www"].link == "/srv/website/public"
    assert run["var/log/microhttpd/access.log"].link == "/dev/stdout"
    assert run["usr/share/misc/microhttpd"].link == "../../local/sbin/microhttpd"
    assert run["usr/local/sbin/microhttpd"].mode == "-rwxr-xr-x"
    assert "tmp/.wh.microhttpd-1.0" in run
    for leaked in ("proc", "sys", "dev", "etc/resolv.conf", "etc/hosts", "etc/hostname"):
        assert not [name for name in run if name == leaked or name.startswith(leaked + "/")]


@pytest.mark.root
def test_webserver_answers_and_passes_the_exit_code(build: Build, scratch: Path) -> None:
    bundle = readers.unpack(build("webserver").layout, scratch / "bundle")
    with readers.running(bundle) as container:
        assert "It works" in container.ask(8080)
        assert "serif" in container.ask(8080, "/style/site.css")
        assert container.stop() == 0
        assert container.output.read_text().splitlines() == ["website listens on port 8080", "server ended with 0"]
    with readers.running(bundle, ["entrypoint.sh", "sh", "-c", "exit 42"]) as container:
        assert container.process.wait(20) == 42
    # A server that does not get its configuration ends with a status of its own.
    (bundle / "rootfs/srv/website/conf/site.conf").unlink()
    with readers.running(bundle, ["entrypoint.sh", "serve"]) as container:
        assert container.process.wait(20) == 78


def test_webserver_base_is_the_callers_choice(build: Build, registry: Registry) -> None:
    built = build("webserver", "--build-arg", "GCC_TAG=12-bookworm")
    assert built.manifest["layers"][0] == registry.manifest("library/gcc:12-bookworm")["layers"][0]


NONROOT = (
    "--file",
    str(EXAMPLES / "webserver/Dockerfile.nonroot"),
    "--build-arg",
    "USER_ID=1777",
    "--build-arg",
    "GROUP_ID=1888",
)


def test_nonroot_webserver_image(build: Build, registry: Registry) -> None:
    built = build("webserver", *NONROOT)
    assert built.config["User"] == "website"
    assert not {"USER_ID", "GROUP_ID"} & set(built.environment)
    merged: dict[str, readers.Member] = {}
    for layer in built.own_layers(registry, "library/gcc:12"):
        merged |= layer
    assert merged["usr/local/bin/entrypoint.sh"].mode == "-rwxr-xr-x"
    assert merged["usr/local/bin/entrypoint.sh"].owner == "1777/1888"
    assert merged["srv/website/conf/site.conf"].owner == "1777/1888"
    assert merged["srv/website/public/index.html"].owner == "1777/1888"
    assert merged["srv/website"].owner == "1777/1888"
    assert merged["usr/local/sbin/microhttpd"].owner == "0/0"
    assert merged["usr/local/bin"].owner == "0/0"


@pytest.mark.root
def test_nonroot_webserver_answers(build: Build, scratch: Path) -> None:
    bundle = readers.unpack(build("webserver", *NONROOT).layout, scratch / "bundle")
    assert (bundle / "rootfs/srv/website/built-by").read_text() == "website\n"
    with readers.running(bundle) as container:
        assert "It works" in container.ask(8080)
        status = Path(f"/proc/{container.pid}/status").read_text()
        assert "Uid:\t1777\t1777" in status
        assert "Gid:\t1888\t1888" in status
        assert container.stop() == 0


STOREFRONT = ("--build-arg", f"COMMIT_SHORT_HASH={COMMIT}")


def test_storefront_holds_only_what_was_copied(build: Build, registry: Registry) -> None:
    built = build("storefront", *STOREFRONT)
    below = registry.manifest("library/debian:bookworm-slim")["layers"]
    assert built.manifest["layers"][: len(below)] == below
    adduser, service, web = built.own_layers(registry, "library/debian:bookworm-slim")
    assert {name for name in adduser if not name.startswith("var")} - {"etc"} <= {
        f"etc/{name}{backup}"
        for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid", ".pwd.lock")
        for backup in ("", "-")
    }
    assert {name: member.mode for name, member in service.items() if member.mode[0] != "d"} == {
        "usr/local/bin/storefrontd": "-rwxr-xr-x"
    }
    assert {name for name, member in web.items() if member.mode[0] != "d"} == {
        "srv/store/index.html",
        "srv/store/shop.html",
        "srv/store/assets/bundle.js",
    }
    assert web["srv/store/shop.html"].link == "index.html"
    assert {member.owner for name, member in web.items() if name.startswith("srv/store")} == {"1600/1600"}
    assert built.config["User"] == "store"
    assert built.config["Healthcheck"]["Test"] == ["CMD", "storefrontd", "--version"]


@pytest.mark.root
def test_storefront_answers(build: Build, scratch: Path) -> None:
    with readers.running(readers.unpack(build("storefront", *STOREFRONT).layout, scratch / "bundle")) as container:
        assert container.ask(3000, "/commit") == f"{COMMIT}\n"
        assert "<li>kilderkin: 81.90</li>" in container.ask(3000)
        assert "Uid:\t1600\t1600" in Path(f"/proc/{container.pid}/status").read_text()


def test_target_stops_at_a_stage(build: Build, registry: Registry) -> None:
    web = build("storefront", "--target", "web")
    merged = {name for layer in web.own_layers(registry, "library/node:18") for name in layer}
    assert "web/dist/index.html" in merged
    assert "web/node_modules/render-list/index.js" in merged
    assert not [name for name in merged if "storefrontd" in name]
    service = build("storefront", "--target", "service")
    assert service.config["WorkingDir"] == "/build"
    assert service.manifest["layers"][0] == registry.manifest("library/gcc:12")["layers"][0]


def test_buildah_reads_what_was_pushed(build: Build, registry: Registry, scratch: Path) -> None:
    built = build("storefront", *STOREFRONT)
    inspected = readers.buildah_reads(f"docker://{registry.reference(built.name)}", scratch / "buildah")
    # The specification of OCI images has no health checks, and buildah keeps to it.
    assert inspected["OCIv1"]["config"] == {k: v for k, v in built.config.items() if k != "Healthcheck"}
    assert inspected["FromImageDigest"] == built.metadata["containerimage.digest"]


def test_package_is_what_its_sources_say() -> None:
    packed = readers.tool("tar", "-xOzf", EXAMPLES / "webserver/package.tgz", "microhttpd-1.0/microhttpd.c")
    assert packed == (EXAMPLES / "webserver/package/microhttpd-1.0/microhttpd.c").read_text()
