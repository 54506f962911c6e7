"""What makes the executor image: the reader of ELF files, the libraries that a runtime needs, the platforms."""

import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.elves import make_elf
from support.images import load

from firkin.oci.platform import Platform

runtime = load("executor/runtime.py")
build = load("build.py")
elf = runtime.parse_elf.__globals__
parse_elf, ElfError, Elf = elf["parse_elf"], elf["ElfError"], elf["Elf"]

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


def test_the_facts_of_an_elf_file() -> None:
    data = make_elf("libc.so.6", "libz.so.1", machine="aarch64", interpreter="/lib/ld-linux-aarch64.so.1",
                    rpath="$ORIGIN/../x.libs:/opt/lib", runpath="$ORIGIN")  # fmt: skip
    assert parse_elf(data) == Elf("aarch64", "/lib/ld-linux-aarch64.so.1", ("libc.so.6", "libz.so.1"),
                                  ("$ORIGIN/../x.libs", "/opt/lib"), ("$ORIGIN",))  # fmt: skip
    assert parse_elf(make_elf()) == Elf("x86_64", "", (), (), ())
    assert parse_elf(make_elf(machine="riscv64")).machine == "machine 243"
    assert parse_elf(Path("/proc/self/exe").read_bytes()).machine == os.uname().machine


def test_other_files_are_refused() -> None:
    whole = make_elf("libc.so.6", interpreter="/lib/ld.so")
    with pytest.raises(ElfError, match="not a 64-bit, little-endian ELF file"):
        parse_elf(b"#!/bin/sh\n")
    for at, byte in ((4, 1), (5, 2)):  # 32 bits; big-endian
        with pytest.raises(ElfError, match="not a 64-bit"):
            parse_elf(whole[:at] + bytes([byte]) + whole[at + 1 :])
    for length in (6, 60, 100, len(whole) - 1):
        with pytest.raises(ElfError, match="cut short"):
            parse_elf(whole[:length])
    stray = bytearray(whole)
    stray[64 + 16 : 64 + 24] = bytes(8)  # the address of what is loaded
    with pytest.raises(ElfError, match="nothing of the file is loaded at 0x4"):
        parse_elf(bytes(stray))


@given(st.data())
def test_whatever_stands_in_a_file_only_elf_errors_are_raised(data: st.DataObject) -> None:
    changed = bytearray(make_elf("libc.so.6", interpreter="/lib/ld.so", runpath="$ORIGIN"))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(6, len(changed) - 1))
        changed[at : at + 8] = data.draw(st.binary(min_size=1, max_size=8))
    try:
        found = parse_elf(bytes(changed))
    except ElfError:
        return
    assert all(isinstance(name, str) for name in (*found.needed, *found.rpath, *found.runpath))


def test_links_are_followed_as_in_the_image(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr/lib/aarch64-linux-gnu").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    (root / "usr/lib/ld.so").symlink_to("/lib/aarch64-linux-gnu/../aarch64-linux-gnu/ld-2.so")
    (root / "usr/out").symlink_to("../../../../etc/./passwd")
    (root / "circle").symlink_to("circle")
    place = str(root)
    assert runtime.beneath(place, "/lib/ld.so") == f"{place}/usr/lib/aarch64-linux-gnu/ld-2.so"
    assert runtime.beneath(place, "/usr/out") == f"{place}/etc/passwd"
    assert runtime.beneath(place, "/../not//there/") == f"{place}/not/there"
    with pytest.raises(SystemExit, match="in a circle"):
        runtime.beneath(place, "/circle")


class Made:
    """An image at `root` and the beginning of a runtime at `target`, both for arm64."""

    def __init__(self, place: Path) -> None:
        self.root, self.target = place / "root", place / "rt"
        for name in ("bin", "so", "lib", "site"):
            (self.target / name).mkdir(parents=True)
        for name in runtime.LOADED_LATER:
            self.put(f"root/lib/aarch64-linux-gnu/{name}")
        self.put("rt/bin/python3", "libc.so.6", interpreter="/lib/ld-linux-aarch64.so.1")
        self.put("root/usr/lib/aarch64-linux-gnu/libc.so.6")

    def put(self, path: str, *needed: str, machine: str = "aarch64", **facts: str) -> None:
        file = self.root.parent / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(make_elf(*needed, machine=machine, **facts))

    def copied(self) -> set[str]:
        """Copy the libraries and return the names of those that no runtime is without."""
        runtime.copy_libraries(str(self.root), str(self.target), "aarch64")
        return set(os.listdir(self.target / "so")) - set(runtime.LOADED_LATER)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_libraries_are_copied_with_those_that_they_need(made: Made) -> None:
    made.put("rt/lib/python3.11/lib-dynload/_ssl.so", "libssl.so.3")
    made.put("root/usr/lib/aarch64-linux-gnu/libssl-3.0.so", "libcrypto.so.3")
    (made.root / "usr/lib/aarch64-linux-gnu/libssl.so.3").symlink_to("libssl-3.0.so")
    made.put("root/usr/local/lib/libcrypto.so.3", "libssl.so.3", "libc.so.6")
    made.put("root/usr/lib/aarch64-linux-gnu/libcrypto.so.3", "libother.so.1")
    made.put("root/usr/lib/aarch64-linux-gnu/libunused.so.1")
    (made.target / "site/a.sort.py").write_text("")
    assert made.copied() == {"libc.so.6", "libssl.so.3", "libcrypto.so.3"}
    taken = made.target / "so/libssl.so.3"
    assert not taken.is_symlink() and taken.stat().st_mode & 0o777 == 0o755


def test_what_wheels_bring_along_is_found_there(made: Made) -> None:
    """RPATH counts for what a library needs in turn, RUNPATH for the library alone. Spec: ld.so(8)."""
    made.put("rt/site/curl/_curl.so", "libcurl-1.so", rpath="$ORIGIN/../curl.libs")
    made.put("rt/site/curl.libs/libcurl-1.so", "libssh-1.so", "libz.so.1")
    made.put("rt/site/curl.libs/libssh-1.so")
    made.put("rt/site/curl.libs/libunused-1.so", "libidn.so.2")
    made.put("root/lib/libz.so.1")
    made.put("root/lib/libidn.so.2")
    assert made.copied() == {"libc.so.6", "libz.so.1", "libidn.so.2"}
    made.put("rt/site/curl/_curl.so", "libcurl-1.so", runpath="${ORIGIN}/../curl.libs")
    with pytest.raises(SystemExit, match=r"site/curl.libs/libcurl-1.so: needs libssh-1.so, which is in none of /usr/local"):
        made.copied()
    made.put("rt/site/curl.libs/libcurl-1.so", "libssh-1.so", "libz.so.1", runpath="$ORIGIN")
    assert made.copied() == {"libc.so.6", "libz.so.1", "libidn.so.2"}


def test_a_runtime_that_would_not_start_or_trusts_its_root_is_none(made: Made) -> None:
    made.put("rt/site/one.so", machine="x86_64")
    with pytest.raises(SystemExit, match=r"one.so: for x86_64, but the interpreter is for aarch64"):
        made.copied()
    for path in ("/usr/lib", "$ORIGIN/../../../lib", "lib"):
        made.put("rt/site/one.so", runpath=path)
        with pytest.raises(SystemExit, match=r"one.so: looks for libraries in .*lib, where images that are built"):
            made.copied()
    (made.target / "site/one.so").write_bytes(b"\x7fELF\x01")
    with pytest.raises(SystemExit, match=r"one.so: not a 64-bit"):
        made.copied()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_paths_are_written_over_longer_ones(tmp_path: Path, machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rt/so").mkdir(parents=True)
    triplet = f"{machine}-linux-gnu".encode()
    loader = f"/lib/ld-linux-{machine}.so.2"
    Path("rt/python3").write_bytes(make_elf(machine=machine, interpreter=loader))
    places = b"/lib/%b/\0/usr/lib/%b/\0/lib/\0/usr/lib/\0" % (triplet, triplet)
    Path("rt/ld.so").write_bytes(b"*/etc/ld.so.cache\0*/etc/ld.so.preload\0*" + places + b"*")
    Path("rt/so/libc.so.6").write_bytes(b"*/usr/lib/%b/gconv/gconv-modules.cache\0/usr/lib/locale\0" % triplet)
    before = {path: path.stat().st_size for path in Path("rt").rglob("*")}
    runtime.make_independent("rt", "rt/python3", parse_elf(Path("rt/python3").read_bytes()))
    assert parse_elf(Path("rt/python3").read_bytes()).interpreter == "rt/ld.so"
    written = Path("rt/ld.so").read_bytes()
    cache, preload, rest = (part.strip(b"\0") for part in written.split(b"*")[1:4])
    assert (cache, preload) == (b"rt/ld.c", b"rt/ld.p")
    first, *others = rest.split(b"\0")
    assert os.path.normpath(first) == b"rt/so" and first.endswith(b"/")
    assert [os.path.normpath(place) for place in others] == [b"/sys"] * 3
    assert b"/usr" not in Path("rt/so/libc.so.6").read_bytes() and b"gconv" in Path("rt/so/libc.so.6").read_bytes()
    assert {path: path.stat().st_size for path in Path("rt").rglob("*")} == before
    with pytest.raises(SystemExit, match=r"ld.so: cannot write"):
        runtime.make_independent("rt", "rt/python3", Elf(machine, "rt/ld.so", (), (), ()))


def test_platforms_are_those_that_there_is_an_image_for() -> None:
    assert build.parse_platforms("", AMD64) == [AMD64]
    assert build.parse_platforms("linux/arm64/v8, linux/x86_64,arm64", AMD64) == [ARM64, AMD64]
    for text in ("linux/riscv64", "windows/amd64", "linux/amd64/v3"):
        with pytest.raises(ValueError, match=f"no executor image for {text}, only for linux/amd64 and linux/arm64"):
            build.parse_platforms(text, AMD64)
    with pytest.raises(ValueError, match="no executor image for linux/s390x"):
        build.parse_platforms("", Platform("linux", "s390x"))
    with pytest.raises(ValueError, match="is not a platform"):
        build.parse_platforms("linux/amd64/v1/x", AMD64)


def test_sizes_are_told_for_each_platform(tmp_path: Path) -> None:
    def put(outer: tarfile.TarFile, path: str, content: bytes) -> None:
        info = tarfile.TarInfo(path)
        info.size = len(content)
        outer.addfile(info, io.BytesIO(content))

    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w:gz") as inner:
        for name in ("a", "b"):
            put(inner, name, bytes(1_500_000))
    manifest = {"layers": [{"digest": "sha256:1", "size": 1_230_000}]}
    index = {"manifests": [{"digest": "sha256:2", "platform": {"architecture": name}} for name in ("amd64", "arm64")]}
    for digest, said in (("2", "1.2 MB compressed, 3.0 MB unpacked"),
                         ("3", "amd64: 1.2 MB compressed, 3.0 MB unpacked; arm64: 1.2 MB compressed, 3.0 MB unpacked")):  # fmt: skip
        with tarfile.open(tmp_path / "image.tar", "w") as outer:
            put(outer, "blobs/sha256/1", layer.getvalue())
            put(outer, "blobs/sha256/2", json.dumps(manifest).encode())
            put(outer, "blobs/sha256/3", json.dumps(index).encode())
            put(outer, "index.json", json.dumps({"manifests": [{"digest": f"sha256:{digest}"}]}).encode())
        assert build.describe(tmp_path / "image.tar") == said
