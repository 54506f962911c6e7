"""Fixtures of every test: what this machine offers, a registry with base images, and firkin as root or as a user."""

import compileall
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.accounts import Firkin, account, make_firkin, remove_with_subordinate_ids
from support.containers import make_box, remove_containers
from support.marks import ROOT_AND_USER
from support.places import REPOSITORY
from support.registry import Registry, running_registry

from firkin.store.layout import spread

IN_CI = bool(os.environ.get("CI"))


def _userns() -> str:
    try:
        somebody = account("user")
    except (LookupError, subprocess.CalledProcessError, OSError) as error:
        return str(error)
    probe = ["unshare", "--user", "--map-root-user", "--map-auto", "--mount", "true"]
    if not shutil.which("newuidmap"):
        return "newuidmap is not installed"
    result = somebody.run(probe, cwd="/")
    return "" if result.returncode == 0 else f"no user namespaces: {result.stderr.strip()}"


def _root() -> str:
    return "" if os.geteuid() == 0 else "needs root"


def _registry() -> str:
    return "" if shutil.which("docker-registry") else "docker-registry is not installed"


def _inplace() -> str:
    return "" if os.environ.get("FIRKIN_TEST_INPLACE") else "replaces the root file system; set FIRKIN_TEST_INPLACE=1"


def _buildkit() -> str:
    from differential.builders import missing as missing_buildkit

    return missing_buildkit(own=True)


# marker -> a function that says what is missing, or "". What may skip on a laptop must run in CI.
NEEDS: dict[str, Callable[[], str]] = {
    "userns": _userns,
    "root": _root,
    "chroot": _root,
    "registry": _registry,
    "inplace": _inplace,
    "buildkit": _buildkit,
}
_missing: dict[str, str] = {}


def missing(need: str) -> str:
    """Return what this machine lacks for a marker, or nothing."""
    if need not in _missing:
        _missing[need] = NEEDS[need]()
    return _missing[need]


def pytest_configure(config: pytest.Config) -> None:
    """Compile firkin once, and give all tests and what they start a temporary directory of this kind."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Whoever is started in the background ignores it, and so would all that tests start and interrupt.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(config, "workerinput"):
        return  # done, and in the environment
    # They start it thousands of times, and without bytecode it takes three times as long to be there.
    compileall.compile_dir(REPOSITORY / "src", quiet=1)
    place = Path(tempfile.gettempdir()) / f"ft-{os.geteuid()}"  # short: paths of sockets end at 108 bytes
    place.mkdir(exist_ok=True)
    if place.is_symlink() or place.stat().st_uid != os.geteuid():
        return  # somebody else's
    place.chmod(0o1777)
    # Thousands of tests that tidy up side by side would make each new file slow.
    spread(str(place))
    os.environ["TMPDIR"] = tempfile.tempdir = str(place)


@pytest.fixture(scope="session", autouse=True)
def _apart(tmp_path_factory: pytest.TempPathFactory) -> None:
    spread(str(tmp_path_factory.getbasetemp()))


def pytest_report_header() -> list[str]:
    """Say at the top of a run which tests can run here."""
    return ["capabilities: " + ", ".join(f"{need}: {missing(need) or 'yes'}" for need in NEEDS)]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one process run all tests of a module and account that share a store, which each process would fill anew."""
    for item in items:
        params = getattr(item, "callspec", None) and item.callspec.params  # type: ignore[attr-defined]
        if params and "shared_firkin" in params and not item.get_closest_marker("xdist_group"):
            module = item.nodeid.partition("::")[0]
            item.add_marker(pytest.mark.xdist_group(f"{module}-{params['shared_firkin']}"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to run where tests that share a port or a server would run side by side: pytest-xdist knows groups by name."""
    if not session.config.getoption("loadgroup", default=False):
        return  # one process runs all
    lost = [item.nodeid for item in session.items if item.get_closest_marker("xdist_group") and "@" not in item.nodeid]
    if lost:
        raise pytest.UsageError(f"pytest-xdist does not see the groups of {len(lost)} tests, as of {lost[0]}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot run; in CI only in-place tests may be missing."""
    for need in NEEDS:
        if item.get_closest_marker(need) and missing(need):
            if IN_CI and need != "inplace":
                pytest.fail(f"CI must run this test, but: {missing(need)}", pytrace=False)
            pytest.skip(missing(need))


@pytest.fixture(scope="session")
def scratch_root() -> Iterator[Path]:
    """A directory that every account can enter; pytest's own temporary directories are private to one user."""
    place = Path(tempfile.mkdtemp(prefix="s-"))
    place.chmod(0o755)
    spread(str(place))
    yield place
    remove_with_subordinate_ids(place)


@pytest.fixture
def scratch(scratch_root: Path) -> Iterator[Path]:
    """A directory of one test's that every account can enter."""
    place = Path(tempfile.mkdtemp(dir=scratch_root))
    place.chmod(0o755)
    yield place
    remove_with_subordinate_ids(place)


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """A registry without authentication that holds busybox and the Debian base; tests may add to it."""
    with running_registry() as started:
        started.seed_bases("busybox", "debian")
        yield started


@pytest.fixture(scope="session")
def language_registry(registry: Registry) -> Registry:
    """The same registry, with the language and compiler images as well."""
    registry.seed_bases("node", "python", "php", "ruby", "gcc")
    return registry


@pytest.fixture(params=ROOT_AND_USER)
def firkin(request: pytest.FixtureRequest, scratch: Path, registry: Registry) -> Firkin:
    """Firkin once as root and once as an ordinary user, with an empty store, the registry as docker.io's mirror."""
    return make_firkin(request.param, scratch / "firkin", registry.url)


@pytest.fixture(scope="module", params=ROOT_AND_USER)
def shared_firkin(request: pytest.FixtureRequest, scratch_root: Path, registry: Registry) -> Iterator[Firkin]:
    """The same with one store for all tests of a module: bases are pulled and unpacked once."""
    place = Path(tempfile.mkdtemp(dir=scratch_root))
    place.chmod(0o755)
    yield make_firkin(request.param, place / "firkin", registry.url)
    remove_with_subordinate_ids(place)


@pytest.fixture
def box(firkin: Firkin) -> Iterator[Firkin]:
    """The same with busybox in the store as `box:1`; removes its containers in the end."""
    make_box(firkin)
    yield firkin
    remove_containers(firkin)


@pytest.fixture(scope="module")
def shared_box(shared_firkin: Firkin) -> Iterator[Firkin]:
    """The same with one store for all tests of a module."""
    make_box(shared_firkin)
    yield shared_firkin
    remove_containers(shared_firkin)
