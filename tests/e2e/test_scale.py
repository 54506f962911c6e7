"""Large things and many at once, on a real kernel: moderate sizes here, full ones with FIRKIN_SCALE=full.

`make bench WORKLOAD=scale` runs the full sizes and shows the figures.
"""

import json
import os
import random
import sqlite3
import subprocess
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from support.accounts import Firkin, make_firkin
from support.registry import Registry

FULL = os.environ.get("FIRKIN_SCALE") == "full"
FILES = 200_000 if FULL else 10_000
LAYER_BYTES = 10 << 30 if FULL else 256 << 20
LAYERS = 200 if FULL else 130
IMAGES = 1_000 if FULL else 200
RECORDS = 100_000 if FULL else 10_000
AT_ONCE = 8

pytestmark = [pytest.mark.registry, pytest.mark.faults]


@dataclass(frozen=True)
class Cost:
    """Seconds of one command and of processors in it, and the largest resident set of any of its processes."""

    seconds: float
    cpu_s: float
    bytes: int


# A process keeps the largest resident set of whoever it was forked from, here the whole test run: so something small
# stands between.
_MEASURE = """
import os, sys
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, used = os.wait4(pid, 0)
with open(sys.argv[1], "w") as file:
    file.write(f"{used.ru_maxrss} {used.ru_utime + used.ru_stime}")
sys.exit(os.waitstatus_to_exitcode(status) & 255)
"""


def cost(firkin: Firkin, what: str, *arguments: str | os.PathLike[str]) -> Cost:
    """Run firkin, fail if it fails, tell and return what it cost."""
    log, measured = firkin.place / "log", firkin.place / "maxrss"
    command = firkin.command(*arguments)
    with open(log, "wb") as stream:
        begin = time.monotonic()
        process = firkin.account.popen(
            [command[0], "-I", "-S", "-c", _MEASURE, str(measured), *command],
            env=firkin.environment(),
            cwd=firkin.place,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
        process.wait()
        seconds = time.monotonic() - begin
    assert process.returncode == 0, log.read_text(errors="replace")[-4000:]
    kibibytes, cpu_s = measured.read_text().split()
    found = Cost(seconds, float(cpu_s), int(kibibytes) * 1024)
    print(f"\n  {what}: {found.seconds:.2f} s, {found.bytes / 1e6:.0f} MB", end="", flush=True)
    return found


@pytest.fixture
def one(scratch: Path, registry: Registry) -> Firkin:
    """Firkin as whoever runs the tests: for what does not depend on the account."""
    return make_firkin("root" if os.geteuid() == 0 else "user", scratch / "firkin", registry.url)


def context_of(firkin: Firkin, dockerfile: str, name: str = "context") -> Path:
    context = firkin.directory(name)
    (context / "Dockerfile").write_text(dockerfile)
    firkin.account.give(context)
    return context


def test_context_of_many_files(one: Firkin) -> None:
    context = context_of(one, "FROM scratch\nCOPY src /src\n")
    for number in range(FILES):
        folder = context / f"src/d{number // 500}"
        if number % 500 == 0:
            folder.mkdir(parents=True)
        (folder / f"f{number}").write_bytes(b"%d" % number)
    one.account.give(context)
    first = cost(one, f"{FILES:,} files, cold", "build", "-t", "many:1", context)
    time.sleep(2.1)  # files changed less than two seconds ago are read again
    cost(one, "nothing changed, digests noted", "build", "-t", "many:1", context)
    again = cost(one, "nothing changed", "build", "-t", "many:1", context)
    (context / "src/d0/f1").write_text("changed")
    edited = cost(one, "one file edited", "build", "-t", "many:2", context)
    # 200 bytes a file and what a small build takes; a build with nothing to do needs less still.
    assert first.bytes <= 150e6 + FILES * 200
    assert again.bytes <= 60e6 + FILES * 200
    assert edited.bytes <= 150e6 + FILES * 200
    out = one.place / "out.tar"
    one.run("save", "-o", out, "many:2", timeout=600)
    found = {name for name, _ in _layer_files(out)}
    assert len([name for name in found if "/f" in name]) == FILES


def test_an_edit_leaves_layers_alone_that_it_does_not_touch(firkin: Firkin) -> None:
    """The layer of many files is not made again because the small one below it has changed."""
    context = context_of(
        firkin,
        "FROM busybox AS build\nRUN mkdir -p /app/modules && for i in $(seq 200); do echo $i > /app/modules/$i; done\n"
        "COPY src /app/src\nRUN cat /app/src > /app/bundle\n"
        "FROM busybox\nWORKDIR /srv\nCOPY --from=build /app/bundle ./\nCOPY --from=build /app/modules ./modules\n"
        "RUN test $(ls modules | wc -l) = 200 && cat bundle > result\n",
    )
    made = []
    for text in ("one", "two", "three"):
        (context / "src").write_text(text)
        firkin.account.give(context)
        out = firkin.place / f"{text}.tar"
        firkin.run("build", "-o", f"type=docker,dest={out}", "-t", "app:1", context)
        with tarfile.open(out) as archive:
            (entry,) = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
            made.append(entry["Layers"][-3:])
        assert {name for name, _ in _layer_files(out)} >= {"srv/result"}
        assert len(list(firkin.store.glob("trees/*/fs/srv/modules"))) == 1
    assert made[0][1] == made[1][1] == made[2][1]
    assert len({layers[0] for layers in made}) == len({layers[2] for layers in made}) == 3


def _layer_files(saved: Path) -> list[tuple[str, int]]:
    """Return name and size of every member of the last layer of a saved image."""
    with tarfile.open(saved) as archive:
        (entry,) = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
        with tarfile.open(fileobj=archive.extractfile(entry["Layers"][-1])) as layer:
            return [(member.name, member.size) for member in layer]


def test_layer_of_many_bytes(firkin: Firkin, registry: Registry) -> None:
    """A sparse file is a whole one in a layer; memory does not grow with it, going out or coming in."""
    mebibytes = LAYER_BYTES >> 20
    name = registry.reference(f"scale/bytes-{firkin.account.name}:1")
    dockerfile = f"FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=0 seek={mebibytes} && echo end >> /big\n"
    out = cost(
        firkin, f"layer of {mebibytes:,} MiB, built and pushed", "build", "-t", name, "--push",
        context_of(firkin, dockerfile),
    )  # fmt: skip
    assert out.bytes <= 150e6
    other = make_firkin("root" if firkin.account.is_root else "user", firkin.place / "other", registry.url)
    dockerfile = f"FROM {name}\nRUN test $(stat -c %s /big) = {LAYER_BYTES + 4} && test $(tail -c 4 /big) = end\n"
    back = cost(other, "pulled, unpacked and read", "build", context_of(other, dockerfile))
    assert back.bytes <= 150e6


def test_image_of_many_layers(firkin: Firkin, registry: Registry) -> None:
    """More layers than fit into the options of mount(2), out and in again."""
    name = registry.reference(f"scale/layers-{firkin.account.name}:1")
    copies = "".join(f"COPY file /layers/f{number}\n" for number in range(LAYERS))
    check = f"RUN test $(ls /layers | wc -l) = {LAYERS} && cat /layers/* > /all\n"
    context = context_of(firkin, f"FROM busybox\n{copies}{check}")
    (context / "file").write_text("x")
    firkin.account.give(context)
    cost(firkin, f"{LAYERS} layers and a RUN on them", "build", "-t", name, "--push", context)
    assert len(registry.manifest(f"scale/layers-{firkin.account.name}:1")["layers"]) == LAYERS + 2
    other = make_firkin("root" if firkin.account.is_root else "user", firkin.place / "other", registry.url)
    on_top = context_of(other, f"FROM {name}\nRUN test $(wc -c < /all) = {LAYERS} && rm /layers/f0\n{check}".replace(
        f"= {LAYERS} && cat", f"= {LAYERS - 1} && cat"))  # fmt: skip
    cost(other, "pulled, and two RUN on them", "build", on_top)


def test_store_of_many_images_and_records(one: Firkin) -> None:
    context = context_of(one, "FROM busybox\nCOPY Dockerfile /\nRUN true\n")
    one.run("build", "-t", "app:1", context)
    before = min((cost(one, "cached, small store", "build", "-t", "app:1", context) for _ in range(3)), key=_cpu_s)
    _fill(one.store)
    after = min((cost(one, f"cached, {RECORDS:,} records, {IMAGES:,} images", "build", "-t", "app:1", context)
                 for _ in range(3)), key=_cpu_s)  # fmt: skip
    assert after.cpu_s <= 1.5 * before.cpu_s + 0.1
    assert after.bytes <= 60e6
    cost(one, "firkin images", "images")
    cost(one, "prune, nothing old enough", "prune", "--older-than", "30d")
    assert len(one.run("images", "-q").stdout.split()) == IMAGES + 1
    cost(one, "prune, everything unused", "prune")
    assert len(one.run("images", "-q").stdout.split()) == IMAGES + 1
    assert "CACHED" in one.run("build", "--progress", "plain", "-t", "app:1", context).stderr


def _cpu_s(found: Cost) -> float:
    return found.cpu_s


def _fill(store: Path) -> None:
    """Put records of steps and images that differ in an annotation beside what is there."""
    rng = random.Random(1)
    connection = sqlite3.connect(store / "records.db")
    now = time.time() - 3600
    keys = [f"{rng.getrandbits(256):064x}" for _ in range(RECORDS)]
    parts = json.dumps([["op", "run"], ["argv", "x" * 200], ["root", "y" * 64]])
    connection.executemany(
        "INSERT INTO records (key, layer, slot, title, parts, created, seconds, used) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        ((key, key, f"slot{number % 5000}", "RUN x", parts, now, 1.0, now) for number, key in enumerate(keys)),
    )
    connection.executemany(
        "INSERT INTO layer_blobs (layer, variant, diff_id, digest, size, media_type) VALUES (?, ?, ?, ?, ?, ?)",
        ((key, "gzip", f"sha256:{key}", f"sha256:{key}", 1000, "application/vnd.oci.image.layer.v1.tar+gzip")
         for key in keys),
    )  # fmt: skip
    connection.commit()
    connection.close()
    index = json.loads((store / "oci/index.json").read_text())
    (entry,) = index["manifests"]
    manifest = json.loads((store / "oci/blobs/sha256" / entry["digest"].partition(":")[2]).read_text())
    for number in range(IMAGES):
        raw = json.dumps({**manifest, "annotations": {"number": str(number)}}).encode()
        value = sha256(raw).hexdigest()
        (store / "oci/blobs/sha256" / value).write_bytes(raw)
        names = {
            "io.containerd.image.name": f"docker.io/library/many:{number}",
            "org.opencontainers.image.ref.name": f"many:{number}",
        }
        descriptor = {**entry, "digest": f"sha256:{value}", "size": len(raw)}
        index["manifests"].append({**descriptor, "annotations": {**entry.get("annotations", {}), **names}})
    (store / "oci/index.json").write_text(json.dumps(index))


SAME = "FROM busybox AS build\nRUN echo built > /made\nRUN cat /made > /again\nFROM busybox\nCOPY --from=build /again /\n"


def start_builds(firkin: Firkin, contexts: Sequence[Path], prefix: str) -> list[subprocess.Popen[bytes]]:
    return [
        firkin.popen("build", "-t", f"{prefix}:{number}", context, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for number, context in enumerate(contexts)
    ]


def finish(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output.decode(errors="replace")


def test_builds_at_once_on_one_store(firkin: Firkin, registry: Registry) -> None:
    same = context_of(firkin, SAME, "same")
    others = [
        context_of(firkin, f"{SAME}RUN echo {number} > /number\n", f"other-{number}") for number in range(AT_ONCE // 2)
    ]
    begin = time.monotonic()
    finish(start_builds(firkin, [same] * (AT_ONCE // 2) + others, "at-once"))
    print(f"\n  {AT_ONCE} builds at once: {time.monotonic() - begin:.2f} s", end="", flush=True)
    listed = {json.loads(line)["tag"] for line in firkin.run("images", "--json").stdout.splitlines()}
    assert listed == {str(number) for number in range(AT_ONCE)}
    for number in range(AT_ONCE):
        name = registry.reference(f"scale/at-once-{firkin.account.name}:{number}")
        firkin.run("push", f"at-once:{number}", name)
        check = "test $(cat /again) = built"
        if number >= AT_ONCE // 2:
            check += f" && test $(cat /number) = {number - AT_ONCE // 2}"
        firkin.run("build", context_of(firkin, f"FROM {name}\nRUN {check}\n", f"check-{number}"))
    again = firkin.run("build", "--progress=json", same).stdout
    events = [json.loads(line) for line in again.splitlines()]
    assert {event["status"] for event in events if event["event"] == "finished"} <= {"cached", "done"}
    assert not any(event["event"] == "log" for event in events)


@pytest.mark.parametrize("options", [(), ("--older-than", "1s"), ("--keep-storage", "1MB")])
def test_prune_beside_builds(one: Firkin, options: tuple[str, ...]) -> None:
    contexts = [
        context_of(one, f"{SAME}RUN sleep 0.3; echo {number} > /number\nCOPY --from=build /made /made\n", f"c{number}")
        for number in range(4)
    ]
    running = start_builds(one, contexts, "pruned")
    rounds = 0
    while any(process.poll() is None for process in running) or rounds < 2:
        one.run("prune", *options)
        rounds += 1
    finish(running)
    one.run("prune", *options)
    for number in range(4):
        out = one.place / f"image-{number}.tar"
        one.run("save", "-o", out, f"pruned:{number}")
        assert [name for name, _ in _layer_files(out)][-1] == "made"
    finish(start_builds(one, contexts, "again"))


def test_prune_frees_what_no_image_needs(one: Firkin) -> None:
    """Layers that were only ever blobs go like those that were unpacked."""
    context = context_of(one, "FROM scratch\nCOPY data /data\n")
    (context / "data").write_bytes(random.Random(1).randbytes(1_000_000))
    one.account.give(context)
    one.run("build", "-t", "big:1", context)
    kept = _size(one.store / "oci/blobs")
    assert kept > 1_000_000
    one.run("prune")
    assert _size(one.store / "oci/blobs") == kept
    one.run("rmi", "big:1")
    _age(one.store)
    assert "removed" in one.run("prune").stdout
    assert _size(one.store / "oci/blobs") < 100_000
    with sqlite3.connect(one.store / "records.db") as connection:
        assert connection.execute("SELECT count(*) FROM records").fetchone() == (0,)
    assert "CACHED" not in one.run("build", "--progress", "plain", "-t", "big:1", context).stderr


def _size(place: Path) -> int:
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


def _age(store: Path) -> None:
    """Make everything in the store a day older than it is."""
    with sqlite3.connect(store / "records.db") as connection:
        for table in ("records", "trees", "blobs"):
            connection.execute(f"UPDATE {table} SET used = used - 86400")
