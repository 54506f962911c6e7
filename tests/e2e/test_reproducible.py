"""The same inputs give the same digest: on two machines (two stores), as root or not, whatever else is different.

`docs/reproducible.md` says what an image's times come from. `--verify` is tested here as well: it is a second build.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.accounts import Firkin, make_firkin
from support.image import build_image
from support.places import EXAMPLES
from support.registry import Registry

pytestmark = [pytest.mark.registry, pytest.mark.xdist_group("reproducible"), pytest.mark.clients]

COMMIT = ("--build-arg", "COMMIT_SHORT_HASH=4f9e2ab")
EPOCH = ("--source-date-epoch", "1700000000")
NO_RUN = ["node", "php", "python", "ruby"]
EVERY = {
    **{name: (EXAMPLES / name, COMMIT) for name in ("demo", *NO_RUN, "storefront")},
    "webserver": (EXAMPLES / "webserver", ()),
    "webserver-nonroot": (EXAMPLES / "webserver", ("-f", str(EXAMPLES / "webserver/Dockerfile.nonroot"))),
}

Machine = Callable[..., Firkin]


@pytest.fixture
def machine(scratch: Path, registry: Registry) -> Iterator[Machine]:
    """Make a firkin with a home, a store and a temporary directory of its own."""
    umask = os.umask(0o022)

    def make(kind: str = "root", *, mask: int = 0o022) -> Firkin:
        os.umask(0o022)
        made = make_firkin(kind, scratch / f"machine-{len(list(scratch.iterdir()))}", registry.url)
        os.umask(mask)
        return made

    yield make
    os.umask(umask)


def digest(firkin: Firkin, context: Path, *options: str, **more: str) -> str:
    """Build and return the manifest's digest."""
    place = firkin.place / "metadata.json"
    firkin.run("build", "--metadata-file", place, *options, context, env=more)
    return str(json.loads(place.read_text())["containerimage.digest"])


@pytest.mark.root
@pytest.mark.userns
@pytest.mark.parametrize("example", NO_RUN)
def test_without_run_the_clock_does_not_count(machine: Machine, language_registry: Registry, example: str) -> None:
    context, options = EVERY[example]
    first = digest(machine(), context, *options)
    time.sleep(1.1)
    assert digest(machine("user", mask=0o077), context, *options, "--parallel", "1") == first


@pytest.mark.root
@pytest.mark.userns
@pytest.mark.parametrize("example", EVERY)
def test_every_example_twice_with_an_epoch(machine: Machine, language_registry: Registry, example: str) -> None:
    context, options = EVERY[example]
    first = digest(machine(mask=0o077), context, *options, *EPOCH, "--parallel", "4")
    time.sleep(1.1)
    second = digest(machine("user", mask=0o002), context, *options, "--parallel", "1", SOURCE_DATE_EPOCH="1700000000")
    assert second == first


@pytest.mark.root
@pytest.mark.userns
@pytest.mark.parametrize("example", ["demo", "webserver", "storefront"])
def test_rewritten_times_need_no_epoch(
    machine: Machine, language_registry: Registry, scratch: Path, example: str
) -> None:
    context, options = EVERY[example]
    copied = shutil.copytree(context, scratch / "checkout", symlinks=True, copy_function=shutil.copyfile)
    # Files made in another order, at another time: a checkout of the same commit elsewhere.
    for path in copied.rglob("*"):
        shutil.copymode(context / path.relative_to(copied), path)
    first = digest(machine(), context, *options, "--rewrite-timestamp")
    time.sleep(1.1)
    other = machine("user")
    assert digest(other, copied, *options, "-o", f"type=oci,dest={other.place}/x.tar,rewrite-timestamp=true") == first


STRESS = """\
FROM busybox AS a
RUN mkdir -p /d/e/f && echo 1 > /d/e/f/x && ln /d/e/f/x /d/y && mkfifo /p && chown 5:6 /d/e && chmod 1777 /d
RUN mv /d/e /moved && rm -rf /d && mkdir /d && echo new > /d/n && touch /etc/marker && rm /etc/marker
RUN chmod 0751 / && chown 3:4 /
RUN ln /moved/f/x /hard && cat /etc/resolv.conf /etc/hosts > /dev/null
RUN true
WORKDIR /w/x/y
COPY . /ctx/
COPY --chown=7:8 <<E1 /here/doc
x
E1
FROM busybox
COPY --from=a / /all/
COPY --from=a /moved /m2
COPY --link --from=a /d /linked
RUN --mount=type=bind,from=a,target=/mnt/a --mount=type=cache,target=/var/cc --mount=type=tmpfs,target=/tt true
ENTRYPOINT ["sh"]
"""


@pytest.fixture
def stress(scratch: Path) -> Path:
    context = scratch / "stress"
    (context / "sub/deep").mkdir(parents=True)
    for number in (3, 1, 2, 9, 5):
        (context / f"f{number}").write_text(f"{number}\n")
    os.link(context / "f1", context / "sub/hard")
    (context / "Dockerfile").write_text(STRESS)
    (context / ".dockerignore").write_text("Dockerfile\n")
    for path in (context, *context.rglob("*")):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    return context


@pytest.mark.root
@pytest.mark.userns
def test_awkward_files(machine: Machine, stress: Path) -> None:
    first = digest(machine(), stress, *EPOCH)
    assert digest(machine("user", mask=0o027), stress, *EPOCH, "--parallel", "1") == first
    assert digest(machine(), stress, *EPOCH, "--isolation", "chroot") == first


@pytest.mark.root
def test_what_the_cache_holds_does_not_count(machine: Machine, stress: Path) -> None:
    fresh = digest(machine(), stress, *EPOCH)
    used = machine()
    plain = digest(used, stress)
    assert digest(used, stress, *EPOCH) == fresh
    assert digest(used, stress) == plain
    assert digest(used, stress, "--rewrite-timestamp", "--source-date-epoch", "1650000000") not in (fresh, plain)
    assert digest(used, stress, *EPOCH) == fresh
    assert digest(used, stress, *EPOCH, "--no-cache") == fresh


@pytest.mark.root
def test_an_epoch_of_another_commit_runs_nothing_again(machine: Machine, stress: Path) -> None:
    used = machine()
    digest(used, stress, *EPOCH)
    log = used.run("build", "--progress=plain", "--source-date-epoch", "1700000001", stress).stderr
    runs = [line.split()[0] for line in log.splitlines() if " RUN " in line]
    assert len(runs) == 6
    assert all(f"{number} CACHED" in log for number in runs)


def test_layers_hold_nothing_of_overlayfs(firkin: Firkin, stress: Path) -> None:
    for layer in build_image(firkin, stress).layers:
        for member in layer.members.values():
            assert not [key for key in member.pax_headers if "overlay" in key], member.name
            assert member.uname == member.gname == ""


def test_rewriting_leaves_the_base_alone(firkin: Firkin, registry: Registry, stress: Path) -> None:
    image = build_image(firkin, "--rewrite-timestamp", "--source-date-epoch", "1000000000", stress)
    below = registry.manifest("library/busybox:latest")["layers"]
    assert image.manifest["layers"][: len(below)] == below
    for layer in image.layers[len(below) :]:
        assert all(member.mtime <= 1_000_000_000 for member in layer.members.values())


def test_times_without_an_epoch_come_from_the_inputs(firkin: Firkin, scratch: Path) -> None:
    context = scratch / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY a /new/dir/\nWORKDIR /made\nCOPY <<E /here\nx\nE\n")
    (context / "a").write_text("a")
    os.utime(context / "a", (1_234_567_890, 1_234_567_890))
    image = build_image(firkin, context)
    times = {name: member.mtime for layer in image.layers for name, member in layer.members.items()}
    assert times == {"new": 1234567890, "new/dir": 1234567890, "new/dir/a": 1234567890, "made": 0, "here": 0}
    assert image.config["created"] == "2009-02-13T23:31:30Z"


# --- verify -----------------------------------------------------------------------------------------------------------


def test_verify_an_image_of_the_store(firkin: Firkin) -> None:
    firkin.run("build", "-t", "demo:1", *EPOCH, EXAMPLES / "demo")
    told = firkin.run("build", "-q", "--verify", "demo:1", EXAMPLES / "demo")
    assert told.stdout.startswith("verified: linux/")
    assert "demo" not in firkin.run("images", "-q").stdout


def test_verify_an_image_of_a_registry(firkin: Firkin, registry: Registry) -> None:
    name = registry.reference(f"{firkin.account.name}/verified:1")
    firkin.run("build", "-t", name, "--push", *EPOCH, "--rewrite-timestamp", EXAMPLES / "demo")
    assert "verified:" in firkin.run("build", "-q", "--verify", name, EXAMPLES / "demo").stdout


def test_verify_names_what_differs(firkin: Firkin, scratch: Path) -> None:
    firkin.run("build", "-t", "demo:1", *EPOCH, EXAMPLES / "demo")
    changed = shutil.copytree(EXAMPLES / "demo", scratch / "changed")
    with open(changed / "src/pages.txt", "a") as pages:
        pages.write("another\n")
    result = firkin.run("build", "-q", "--verify", "demo:1", changed, check=False)
    assert result.returncode == 1
    assert "step `COPY --chown=web:web /work/site /srv/www # buildkit` differs: /srv/www/" in result.stderr
    result = firkin.run("build", "-q", "--verify", "demo:1", "--build-arg", "COMMIT_SHORT_HASH=x", EXAMPLES / "demo",
                        check=False)  # fmt: skip
    assert result.returncode == 1
    assert "`ARG COMMIT_SHORT_HASH=demo` → `ARG COMMIT_SHORT_HASH=x`" in result.stderr


def test_verify_says_when_only_times_differ(firkin: Firkin) -> None:
    firkin.run("build", "-t", "demo:1", EXAMPLES / "demo")
    time.sleep(1.1)
    result = firkin.run("build", "-q", "--verify", "demo:1", EXAMPLES / "demo", check=False)
    assert result.returncode == 1
    assert ": time " in result.stderr
    assert "SOURCE_DATE_EPOCH" in result.stderr


def test_verify_takes_nothing_of_what_it_checks(firkin: Firkin, scratch: Path) -> None:
    """The layer of the image is in the store, with the times that are to be compared; a guessed epoch is told."""
    (scratch / "Dockerfile").write_text(
        "FROM busybox AS one\nRUN mkdir /out && echo a >/out/a && sleep 1.2 && echo b >/out/b\nFROM busybox\nCOPY --from=one /out /out\n"
    )
    firkin.run("build", "-q", "--no-cache", "-t", "copied:1", scratch)
    time.sleep(1.1)
    result = firkin.run("build", "-q", "--verify", "copied:1", scratch, check=False)
    assert result.returncode == 1, result.stdout
    assert ": time " in result.stderr
    firkin.run("build", "-q", "--no-cache", "-t", "copied:2", *EPOCH, scratch)
    told = firkin.run("build", "-q", "--verify", "copied:2", scratch).stdout
    assert told.endswith(" again with SOURCE_DATE_EPOCH=1700000000\n")


def test_verify_with_another_base(firkin: Firkin, scratch: Path) -> None:
    for name, base in (("one", "busybox"), ("two", "debian:bookworm-slim")):
        (scratch / name).mkdir()
        (scratch / name / "Dockerfile").write_text(f"FROM {base}\nCOPY Dockerfile /\n")
    firkin.run("build", "-t", "based:1", scratch / "one")
    result = firkin.run("build", "-q", "--verify", "based:1", scratch / "two", check=False)
    assert result.returncode == 1
    assert "the base image is another" in result.stderr


def test_verify_something_unknown(firkin: Firkin) -> None:
    result = firkin.run("build", "-q", "--verify", "sha256:" + "0" * 64, EXAMPLES / "demo", check=False)
    assert result.returncode == 2
    assert "No such image: sha256:" in result.stderr
