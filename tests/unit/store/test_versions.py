"""The store's version: earlier stores are converted as a whole or not at all, later ones are refused."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import pytest
from support.old_stores import old_stores, unpack_store

from firkin.errors import StoreError
from firkin.hints import Hint
from firkin.oci.reference import parse_reference
from firkin.store import database, layout
from firkin.store.gc import prune
from firkin.store.layout import CONVERSIONS, StoreLayout
from firkin.store.references import StoreReference
from firkin.store.schema import MIGRATIONS, SCHEMA
from firkin.store.store import Store
from firkin.store.versions import DIRECTORIES, FORMAT, STORE_VERSION

NAMES = ["docker.io/library/kept:1", "docker.io/library/many:1"]
VERSION_1_TABLES = 849229820
KILLED = 77
NOW = str(STORE_VERSION)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    return unpack_store(1, tmp_path_factory.mktemp("old"))


@pytest.fixture
def old(pristine, tmp_path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "store", symlinks=True))


def tables_of(root: Path) -> int:
    connection = sqlite3.connect(root / "records.db")
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return int(found)


def without_comments(sql: str) -> str:
    return " ".join(" ".join(line.partition("--")[0] for line in sql.splitlines()).split())


def check(root: Path) -> None:
    """Open a store and look whether all that the old one held is there."""
    told: list[str] = []
    with Store(str(root), time.time, lambda code, text: told.append(text)) as store:
        images = store.images.entries()
        assert [image.name for image in images] == NAMES
        for image in images:
            store.blobs.read(image.descriptor.digest)
        assert len(store.records.query("SELECT key FROM records WHERE title LIKE 'COPY%'")) == 4
        layers = store.records.query("SELECT layer FROM layer_blobs")
        assert len(layers) == 3 and all(store.records.layer_blobs(str(layer)) for (layer,) in layers)
        trees = store.records.query("SELECT id FROM trees")
        assert len(trees) == 2 and all(store.trees.has(str(tree)) for (tree,) in trees)
        (mount,) = (name for name in os.listdir(store.layout.mounts) if "." not in name)
        assert (Path(store.layout.mounts) / mount / "fs/kept").read_bytes() == b"made\n"
    assert told == []
    assert (root / "version").read_text() == f"{STORE_VERSION}\n" and tables_of(root) == STORE_VERSION


def test_the_format_has_a_number() -> None:
    """Who changes the tables, the layout or a document counts the version up. See store/versions.py."""
    tables = without_comments(SCHEMA)
    assert layout.__doc__ is not None
    places = re.findall(r"^ {6,8}(\S.*?)(?: {2,}|$)", layout.__doc__, re.MULTILINE)
    assert len(places) > 12 and set(places) > {"version", "trees/ID/fs", "records.db"}
    reference = list(StoreReference.__annotations__.items())
    found = sha256(repr((STORE_VERSION, tables, places, DIRECTORIES, reference)).encode()).hexdigest()
    assert found == FORMAT, "the format is another one: follow the four steps in store/versions.py"


def test_every_earlier_version_is_kept_and_leads_here(tmp_path) -> None:
    versions = list(range(1, STORE_VERSION))
    assert sorted(old_stores()) == sorted(CONVERSIONS) == versions
    for version in versions:
        root = unpack_store(version, tmp_path / str(version))
        assert (root / "version").read_text() == f"{version}\n"
        number = tables_of(root)
        while number in MIGRATIONS:
            number, _ = MIGRATIONS[number]
        assert number == STORE_VERSION
        with Store(str(root), time.time) as store:
            store.records.add_tree("x")
        assert (root / "version").read_text() == f"{STORE_VERSION}\n" and tables_of(root) == STORE_VERSION


def test_tables_that_were_migrated_are_those_of_a_new_store(old, tmp_path) -> None:
    described = []
    for root in (old, tmp_path / "new"):
        with Store(str(root), time.time) as store:
            rows = store.records.query("SELECT type, name, sql FROM sqlite_master ORDER BY name")
            described.append([(kind, name, without_comments(str(sql))) for kind, name, sql in rows])
    assert described[0] == described[1]


def test_a_store_of_version_1_is_converted_with_all_it_holds(old) -> None:
    check(old)
    assert sorted(os.listdir(old)) == sorted(
        [*{name.partition("/")[0] for name in DIRECTORIES}, "version", "oci.lock", "boot", "boot.lock", "records.db",
         "records.db.lock", *(path.name for path in old.glob("records-*.db"))]
    )  # fmt: skip
    check(old)


def test_a_converted_store_prunes_as_ever(old) -> None:
    with Store(str(old), time.time) as store:
        pruned = prune(store, now=time.time() + 1e6)
        assert {item.kind for item in pruned.freed} >= {"layer", "mount"}
        assert [image.name for image in store.images.entries()] == NAMES
        found = store.images.find(parse_reference("kept:1"))
        assert found is not None and store.blobs.read(found.digest)


def test_a_process_that_is_killed_leaves_the_old_store_or_the_new(pristine, tmp_path, monkeypatch) -> None:
    """It is killed before each call that changes a file, and before each statement."""
    left = []
    for number in range(1, 200):
        root = Path(shutil.copytree(pristine, tmp_path / str(number), symlinks=True))
        child = os.fork()
        if not child:
            _convert_and_die(str(root), number)
        _, status = os.waitpid(child, 0)
        version, tables = (root / "version").read_text().strip(), tables_of(root)
        assert (version, tables) in (("1", VERSION_1_TABLES), (NOW, VERSION_1_TABLES), (NOW, STORE_VERSION))
        left.append(version)
        check(root)
        if os.waitstatus_to_exitcode(status) == 0:
            break
        assert os.waitstatus_to_exitcode(status) == KILLED
    assert left[0] == "1" and left[-1] == NOW and len(left) > 12


def _convert_and_die(root: str, number: int) -> None:
    """Convert a store and end without a word before the call of that number."""
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            os._exit(KILLED)

    def counted(call):
        def counting(*arguments: object, **options: object) -> object:
            count()
            return call(*arguments, **options)

        return counting

    for name in ("mkdir", "rename", "write", "fsync", "fchmod", "open", "unlink"):
        setattr(os, name, counted(getattr(os, name)))
    connect = database._connection

    def traced(path: str, mode: str) -> sqlite3.Connection:
        connection = connect(path, mode)
        connection.set_trace_callback(lambda statement: count())
        return connection

    database._connection = traced
    try:
        with Store(root, time.time) as store:
            store.records.query("SELECT 1")
        os._exit(0)
    except BaseException:
        os._exit(1)


def test_many_processes_convert_a_store_once(pristine, tmp_path) -> None:
    roots = [Path(shutil.copytree(pristine, tmp_path / str(n), symlinks=True)) for n in range(12)]
    code = (
        "import sys, time\nfrom firkin.store.store import Store\n"
        "name, first, *roots = sys.argv[1:]\n"
        "for n, root in enumerate(roots):\n"
        "    time.sleep(max(0, float(first) + 0.05 * n - time.time()))\n"
        "    with Store(root, time.time, lambda code, text: sys.exit(text)) as store: store.records.add_tree(name)\n"
    )
    first = str(time.time() + 0.7)  # when all have imported
    command = [sys.executable, "-c", code]
    started = [subprocess.Popen([*command, name, first, *map(str, roots)]) for name in "abcdef"]
    assert [process.wait() for process in started] == [0] * 6
    for root in roots:
        with Store(str(root), time.time) as store:
            assert {*"abcdef"} < {name for (name,) in store.records.query("SELECT id FROM trees")}
            with store.records.transaction() as connection:
                connection.execute("DELETE FROM trees WHERE length(id) = 1")
        check(root)


def test_a_process_that_has_the_old_database_open_goes_on(old) -> None:
    connection = sqlite3.connect(old / "records.db", isolation_level=None)
    (before,) = connection.execute("SELECT count(*) FROM trees").fetchone()
    with Store(str(old), time.time) as store:
        store.records.add_tree("new")
        assert connection.execute("SELECT count(*) FROM trees").fetchone() == (before + 1,)
        connection.execute("INSERT INTO trees VALUES ('theirs', 0, 1.0)")
        assert store.records.query("SELECT used FROM trees WHERE id = 'theirs'") == [(1.0,)]
    connection.close()


@pytest.mark.parametrize(
    ("version", "hint"), [(str(STORE_VERSION + 1), "store-newer"), ("999", "store-newer"), ("one", "store-other"), ("0", "store-other"), ("", "store-other"), ("01", "store-other")],
)
def test_a_store_of_another_version_is_refused_by_name(old, version, hint) -> None:
    (old / "version").write_text(f"{version}\n")
    before = sorted(os.listdir(old))
    with pytest.raises(StoreError) as caught, Store(str(old), time.time):
        pass
    assert str(caught.value) == f"the store at {old} has version {version}, this firkin knows {STORE_VERSION}"
    assert caught.value.code == "store-version" and caught.value.hints == (Hint.of(hint),)
    assert sorted(os.listdir(old)) == before and tables_of(old) == VERSION_1_TABLES


def test_a_version_without_end_is_refused_as_well(old) -> None:
    (old / "version").write_text("9" * 5000)
    with pytest.raises(StoreError, match="has version 99999999999999999999, this firkin knows"), Store(str(old), time.time):
        pass


def test_an_old_store_that_cannot_be_written_stays_as_it_is(old, monkeypatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(layout, "write_atomically", refuse)
    with pytest.raises(StoreError) as caught:
        StoreLayout(str(old)).__enter__()
    assert caught.value.code == "store-permission" and caught.value.hints == (Hint.of("store-writable"),)
    monkeypatch.undo()
    assert (old / "version").read_text() == "1\n"
    check(old)


def test_an_old_store_of_another_user_is_refused_before_it_is_touched(old, monkeypatch) -> None:
    own = os.geteuid()
    monkeypatch.setattr("firkin.store.layout.os.geteuid", lambda: own + 1)
    before = sorted(os.listdir(old))
    with pytest.raises(StoreError) as caught, Store(str(old), time.time):
        pass
    assert caught.value.code == "store-owner"
    assert sorted(os.listdir(old)) == before and (old / "version").read_text() == "1\n"
