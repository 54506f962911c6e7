"""Make a Python runtime that needs nothing of the root it lies in: `runtime.py ROOT TARGET WHEELS`, in a build stage.

ROOT is the root of a Python image, TARGET where the runtime is made, which is also where it will lie:

TARGET/bin/python3         the interpreter; its program loader is TARGET/ld.so
TARGET/ld.so               glibc's loader, which looks for libraries in TARGET/so only
TARGET/so                  every shared library that the interpreter and the extension modules need
TARGET/lib/python3.N       the standard library, compiled
TARGET/site                the wheels

Nothing of ROOT is started, so it may be of another architecture; the interpreter that runs this is of the same version,
since it compiles the library. Paths are written into copies of the interpreter and of the loader, over longer ones, so
TARGET must be short.
"""

import compileall
import os
import py_compile
import shutil
import sys
import sysconfig
import zipfile
from collections.abc import Iterator

from elf import Elf, ElfError, parse_elf

LEFT_OUT = frozenset(
    "test tests idlelib tkinter turtledemo turtle.py lib2to3 ensurepip distutils pydoc_data pydoc.py venv wsgiref "
    "xmlrpc curses dbm site-packages dist-packages __pycache__ __phello__ unittest doctest.py pdb.py antigravity.py "
    "this.py smtpd.py smtplib.py telnetlib.py nntplib.py poplib.py imaplib.py ftplib.py cgi.py cgitb.py mailbox.py "
    "LICENSE.txt sitecustomize.py".split()
)
MODULES_LEFT_OUT = (
    "_test", "_ctypes_test", "_xxtestfuzz", "xx", "_tkinter", "_curses", "_dbm", "_gdbm", "_codecs_", "readline",
    "nis", "ossaudiodev", "audioop", "_crypt", "_lsprof", "_xxsubinterpreters", "_xxinterpchannels", "_interp",
)  # fmt: skip
# Certificates only; and what rich loads to colour code.
WHEELS_LEFT_OUT = ("certifi-", "pygments-", "markdown_it_py-", "mdurl-")
# Loaded by name, not by a header: names and hosts, threads' cancellation.
LOADED_LATER = ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2", "libgcc_s.so.1")
OLD_CACHE, OLD_PRELOAD = b"/etc/ld.so.cache\0", b"/etc/ld.so.preload\0"
# Where the loader and libc would look for code besides. In a root that a hostile image has filled they must find none.
SEARCHED = (b"/lib/", b"/usr/lib/")
# Where images of Debian have libraries, first what was installed beside the packages.
LIBRARY_PLACES = (
    "/usr/local/lib", "/usr/local/lib/{triplet}", "/lib/{triplet}", "/usr/lib/{triplet}", "/lib", "/usr/lib",
)  # fmt: skip
PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH


def main() -> None:
    root, target, wheels = sys.argv[1:]
    library = f"{target}/lib/{PYTHON}"
    for place in ("bin", "so", "lib", "site"):
        os.makedirs(f"{target}/{place}")
    python = f"{target}/bin/python3"
    copy(beneath(root, sys.executable), python)
    copy_library(root, sysconfig.get_path("stdlib"), library)
    for wheel in sorted(os.listdir(wheels)):
        if wheel.endswith(".whl") and not wheel.startswith(WHEELS_LEFT_OUT):
            with zipfile.ZipFile(f"{wheels}/{wheel}") as archive:
                archive.extractall(f"{target}/site")
    prune_site(f"{target}/site")
    interpreter = read_elf(python)
    copy(beneath(root, interpreter.interpreter), f"{target}/ld.so")
    os.symlink("../ld.so", f"{target}/so/{os.path.basename(interpreter.interpreter)}")
    copy_libraries(root, target, interpreter.machine)
    make_independent(target, python, interpreter)
    # The library loses its sources; the wheels keep theirs, some are started by their path.
    compileall.compile_dir(library, quiet=2, legacy=True, optimize=0, invalidation_mode=UNCHECKED)
    compileall.compile_dir(f"{target}/site", quiet=2, optimize=0, invalidation_mode=UNCHECKED)
    for path in files_below(library):
        if path.endswith(".py"):
            os.unlink(path)


def beneath(root: str, path: str) -> str:
    """Return where the file `path` of the image in `root` is; links are followed as in that image. May not exist."""
    waiting, found, links = path.split("/")[::-1], "", 0
    while waiting:
        part = waiting.pop()
        here = f"{found}/{part}"
        if part == "..":
            found = os.path.dirname(found).rstrip("/")
        elif part in ("", "."):
            continue
        elif os.path.islink(root + here):
            links += 1
            if links > 40:
                raise SystemExit(f"{path}: links that go in a circle")
            link = os.readlink(root + here)
            waiting += link.split("/")[::-1]
            found = "" if link.startswith("/") else found
        else:
            found = here
    return root + found


def files_below(place: str) -> Iterator[str]:
    for directory, _, files in os.walk(place):
        yield from (f"{directory}/{file}" for file in files)


def copy_library(root: str, place: str, target: str) -> None:
    """Copy the standard library that lies at `place` in the image. Links are left out: Debian's lead to settings."""
    source = beneath(root, place)
    if not os.path.isdir(source):
        raise SystemExit(f"{source}: not there; the image must have {PYTHON}, as this build stage has")
    for directory, names, files in os.walk(source):
        names[:] = [name for name in names if name not in LEFT_OUT and not name.startswith("config-")]
        within = os.path.relpath(directory, source)
        os.makedirs(f"{target}/{within}", exist_ok=True)
        for name in files:
            left_out = name in LEFT_OUT or name.startswith("libpython") or os.path.islink(f"{directory}/{name}")
            if not left_out and not (within == "lib-dynload" and name.startswith(MODULES_LEFT_OUT)):
                shutil.copy2(f"{directory}/{name}", f"{target}/{within}/{name}")


def prune_site(site: str) -> None:
    """Drop what is never loaded: tests, type stubs, sources of extension modules, the second backend of zstandard."""
    for directory, names, files in os.walk(site):
        for name in list(names):
            if name in ("tests", "test", "__pycache__", "include"):
                shutil.rmtree(f"{directory}/{name}")
                names.remove(name)
        for file in files:
            if file.endswith((".pyi", ".c", ".h", ".rs", ".pyx", ".pxd")) or file.startswith("_cffi.cpython"):
                os.unlink(f"{directory}/{file}")


def read_elf(path: str) -> Elf:
    with open(path, "rb") as file:
        data = file.read()
    try:
        return parse_elf(data)
    except ElfError as error:
        raise SystemExit(f"{path}: {error}") from None


def is_elf(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def copy_libraries(root: str, target: str, machine: str) -> None:
    """Copy the libraries of every program and module below `target`, and theirs, and see that the loader finds them."""
    starts = [path for place in ("bin", "lib", "site") for path in files_below(f"{target}/{place}") if is_elf(path)]
    # Taken from the end: what wheels bring along for their modules comes last, as some is found by way of those only.
    starts.sort(key=lambda path: not os.path.dirname(path).endswith(".libs"))
    starts += [take_library(root, target, machine, name, "the C library") for name in LOADED_LATER]
    # With each file the places that it inherits; None for a start, which is left alone once something has reached it.
    waiting: list[tuple[str, tuple[str, ...] | None]] = [(path, None) for path in starts]
    seen: set[tuple[str, tuple[str, ...] | None]] = set()
    while waiting:
        path, inherited = waiting.pop()
        if (path, inherited) in seen:
            continue
        seen |= {(path, inherited), (path, None)}
        elf = read_elf(path)
        if elf.machine != machine:
            raise SystemExit(f"{path}: for {elf.machine}, but the interpreter is for {machine}")
        searched, passed_on = searched_places(path, elf, inherited or ())
        for place in searched:
            if not os.path.normpath(place).startswith(f"{target}/"):
                raise SystemExit(f"{path}: looks for libraries in {place}, where images that are built may put some")
        for name in elf.needed:
            here = next((f"{place}/{name}" for place in searched if os.path.exists(f"{place}/{name}")), None)
            found = here or take_library(root, target, machine, name, path)
            waiting.append((os.path.normpath(found), passed_on))


def searched_places(path: str, elf: Elf, inherited: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return where the loader looks for what a file needs, and what of that counts for what the needed ones need.

    `inherited` is the second of these for whatever needs the file itself. A RUNPATH is for the needs of its file alone,
    which with one has no use for any RPATH. Spec: ld.so(8).
    """
    origin = os.path.dirname(path)
    written = elf.runpath or elf.rpath
    own = tuple(place.replace("${ORIGIN}", origin).replace("$ORIGIN", origin) for place in written)
    return (own, inherited) if elf.runpath else (own + inherited, own + inherited)


def take_library(root: str, target: str, machine: str, name: str, needed_by: str) -> str:
    """Copy a library of the image, unless that was done, and return where it is now."""
    taken = f"{target}/so/{name}"
    if not os.path.exists(taken):
        places = [place.format(triplet=f"{machine}-linux-gnu") for place in LIBRARY_PLACES]
        sources = [beneath(root, f"{place}/{name}") for place in places]
        source = next((path for path in sources if os.path.exists(path)), None)
        if source is None:
            raise SystemExit(f"{needed_by}: needs {name}, which is in none of {' '.join(places)} of the image")
        copy(source, taken)
    return taken


def copy(source: str, target: str) -> None:
    shutil.copy(source, target)
    os.chmod(target, 0o755)


def make_independent(target: str, python: str, interpreter: Elf) -> None:
    """Write our paths over the system's in the interpreter and the loader."""
    loader, triplet = f"{target}/ld.so", f"{interpreter.machine}-linux-gnu".encode()
    replace(python, interpreter.interpreter.encode() + b"\0", loader.encode())
    # Neither of these two files is there: the libraries are where the loader looks without a list of them.
    replace(loader, OLD_CACHE, f"{target}/ld.c".encode())
    replace(loader, OLD_PRELOAD, f"{target}/ld.p".encode())
    places = [*(place + triplet + b"/" for place in SEARCHED), *SEARCHED]
    # It keeps the lengths of these names elsewhere, so they stay as they are.
    ours = f"{target}/so".encode().ljust(len(places[0]), b"/")
    overwrite(loader, nul_joined(places), nul_joined([ours, *(nowhere(place) for place in places[1:])]))
    for old, keep in ((b"/usr/lib/" + triplet + b"/gconv", b"gconv"), (b"/usr/lib/locale", b"locale")):
        overwrite(f"{target}/so/libc.so.6", old, nowhere(old, keep))


def nul_joined(parts: list[bytes]) -> bytes:
    return b"\0".join(parts) + b"\0"


def nowhere(path: bytes, keep: bytes = b"") -> bytes:
    """Return a path of the same length where no image can put files; `keep` is its end."""
    return b"/sys/".ljust(len(path) - len(keep), b"/")[: len(path) - len(keep)] + keep


def replace(path: str, old: bytes, new: bytes) -> None:
    """Write a shorter text over one that ends with a zero byte."""
    overwrite(path, old, new.ljust(len(old), b"\0") if len(new) < len(old) else new + b"\0")


def overwrite(path: str, old: bytes, new: bytes) -> None:
    """Write over every occurrence of `old`, which must be there and as long as `new`."""
    with open(path, "rb") as file:
        data = file.read()
    if old not in data or len(new) != len(old):
        raise SystemExit(f"{path}: cannot write {new!r} over {old!r}")
    with open(path, "wb") as file:
        file.write(data.replace(old, new))


if __name__ == "__main__":
    main()
