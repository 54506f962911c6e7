"""Make a Python runtime that needs nothing of the root it lies in: `runtime.py TARGET WHEELS`. Runs in a build stage.

TARGET/bin/python3         this interpreter; its program loader is TARGET/ld.so
TARGET/ld.so               glibc's loader, which looks for libraries in TARGET/so only (by TARGET/ld.cache)
TARGET/so                  every shared library that the interpreter and the extension modules need
TARGET/lib/python3.N       the standard library, compiled
TARGET/site                the wheels

Paths are written into copies of the interpreter and of the loader, over longer ones, so TARGET must be short.
"""

import compileall
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile

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


def main() -> None:
    target, wheels = sys.argv[1:]
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    library = f"{target}/lib/{name}"
    for place in ("bin", "so", "lib", "site"):
        os.makedirs(f"{target}/{place}")
    interpreter = os.path.realpath(sys.executable)
    python = f"{target}/bin/python3"
    shutil.copy(interpreter, python)
    copy_library(sysconfig.get_path("stdlib"), library)
    for wheel in sorted(os.listdir(wheels)):
        if wheel.endswith(".whl") and not wheel.startswith(WHEELS_LEFT_OUT):
            with zipfile.ZipFile(f"{wheels}/{wheel}") as archive:
                archive.extractall(f"{target}/site")
    prune_site(f"{target}/site")
    loader = program_loader(interpreter)
    copy_libraries(target, loader)
    make_independent(target, python, loader)
    # The library loses its sources; the wheels keep theirs, some are started by their path.
    compileall.compile_dir(library, quiet=2, legacy=True, optimize=0, invalidation_mode=UNCHECKED)
    compileall.compile_dir(f"{target}/site", quiet=2, optimize=0, invalidation_mode=UNCHECKED)
    for directory, _, files in os.walk(library):
        for file in files:
            if file.endswith(".py"):
                os.unlink(f"{directory}/{file}")
    check(python)


UNCHECKED = __import__("py_compile").PycInvalidationMode.UNCHECKED_HASH


def copy_library(source: str, target: str) -> None:
    def left_out(directory: str, names: list[str]) -> list[str]:
        return [
            item
            for item in names
            if item in LEFT_OUT
            or item.startswith(("config-", "libpython"))
            or (directory.endswith("lib-dynload") and item.startswith(MODULES_LEFT_OUT))
        ]

    shutil.copytree(source, target, ignore=left_out, symlinks=False, ignore_dangling_symlinks=True)


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


def program_loader(program: str) -> str:
    """Return the loader that an ELF program asks for."""
    with open(program, "rb") as file:
        data = file.read()
    count, size, start = data[56] + 256 * data[57], data[54] + 256 * data[55], int.from_bytes(data[32:40], "little")
    for header in range(start, start + count * size, size):
        if int.from_bytes(data[header : header + 4], "little") == 3:  # PT_INTERP
            offset = int.from_bytes(data[header + 8 : header + 16], "little")
            return data[offset : data.index(b"\0", offset)].decode()
    raise SystemExit(f"{program} names no loader")


def is_elf(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def copy_libraries(target: str, loader: str) -> None:
    """Copy the libraries of every program and module below `target`, and theirs."""
    waiting = [
        f"{directory}/{file}"
        for directory, _, files in os.walk(target)
        for file in files
        if (file == "python3" or ".so" in file) and is_elf(f"{directory}/{file}")
    ]
    places = {os.path.dirname(os.path.realpath(loader)), *library_directories()}
    for name in LOADED_LATER:
        waiting += [f"{place}/{name}" for place in places if os.path.exists(f"{place}/{name}")][:1]
        copy(waiting[-1], f"{target}/so/{name}") if waiting[-1].endswith(name) else None
    own = {os.path.basename(path) for path in waiting if f"{target}/site/" in path}
    while waiting:
        listed = subprocess.run([loader, "--list", waiting.pop()], capture_output=True, text=True, check=False)
        for line in listed.stdout.splitlines():
            name, arrow, rest = line.strip().partition(" => ")
            path = rest.partition(" (")[0]
            if not arrow or not path.startswith("/") or name in own or path.startswith(f"{target}/"):
                continue
            if not os.path.exists(f"{target}/so/{name}"):
                copy(path, f"{target}/so/{name}")
    copy(loader, f"{target}/ld.so")


def library_directories() -> set[str]:
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    return {os.path.dirname(line.rpartition(" => ")[2]) for line in listed.splitlines() if " => /" in line}


def copy(source: str, target: str) -> None:
    if not os.path.exists(target):
        shutil.copy(os.path.realpath(source), target)
        os.chmod(target, 0o755)


def make_independent(target: str, python: str, loader: str) -> None:
    """Write our paths over the system's in the interpreter and the loader, and list the libraries for it."""
    replace(python, loader.encode() + b"\0", f"{target}/ld.so".encode())
    replace(f"{target}/ld.so", OLD_CACHE, f"{target}/ld.c".encode())
    replace(f"{target}/ld.so", OLD_PRELOAD, f"{target}/ld.p".encode())
    triplet = os.path.basename(os.path.dirname(os.path.realpath(loader))).encode()
    places = [*(place + triplet + b"/" for place in SEARCHED), *SEARCHED]
    blank(f"{target}/ld.so", b"\0".join(places) + b"\0")
    blank(f"{target}/so/libc.so.6", b"/usr/lib/" + triplet + b"/gconv", keep=b"gconv")
    blank(f"{target}/so/libc.so.6", b"/usr/lib/locale", keep=b"locale")
    os.symlink("../ld.so", f"{target}/so/{os.path.basename(loader)}")
    vendored = [f"{target}/site/{name}" for name in os.listdir(f"{target}/site") if name.endswith(".libs")]
    with open("/tmp/libraries.conf", "w") as file:
        file.write("\n".join((f"{target}/so", *vendored)) + "\n")
    subprocess.run(["/sbin/ldconfig", "-X", "-f", "/tmp/libraries.conf", "-C", f"{target}/ld.c"], check=True)


def replace(path: str, old: bytes, new: bytes) -> None:
    with open(path, "rb") as file:
        data = file.read()
    if old not in data or len(new) >= len(old):
        raise SystemExit(f"{path}: cannot write {new!r} over {old!r}")
    with open(path, "wb") as file:
        file.write(data.replace(old, new + bytes(len(old) - len(new))))


def blank(path: str, old: bytes, keep: bytes = b"") -> None:
    """Turn paths into others of the same length where no image can put files."""
    new = b"\0".join(
        (b"/sys/" + b"/" * len(part))[: len(part) - len(keep)] + keep if part else b"" for part in old.split(b"\0")
    )
    with open(path, "rb") as file:
        data = file.read()
    if old not in data or len(new) != len(old):
        raise SystemExit(f"{path}: `{old!r}` is not in it")
    with open(path, "wb") as file:
        file.write(data.replace(old, new))


def check(python: str) -> None:
    """Start it, and see that everything it loads is its own."""
    code = (
        "import sys; sys.path.insert(0, sys.prefix + '/site'); import ssl, sqlite3, ctypes, pycurl, msgspec, isal,"
        " zstandard, dulwich.repo, rich.console, subprocess, encodings.idna\n"
        "import os\n"
        "for line in open('/proc/self/maps') if os.path.exists('/proc/self/maps') else ():\n"
        "    path = line.split()[-1]\n"
        "    if '/' in path and not path.startswith((sys.prefix, '/dev/')): sys.exit(path)"
    )
    subprocess.run([python, "-I", "-S", "-c", code], check=True)


if __name__ == "__main__":
    main()
