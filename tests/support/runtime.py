"""A root file system with only firkin and its own interpreter below /kaniko, as in the executor image.

The interpreter of these tests is copied with all libraries it needs. A small static program starts it through its own
loader, so changes to /lib and /usr do not affect it.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from support.places import REPOSITORY, cache_directory, locked

OWN = "/kaniko"
PYTHON = f"{OWN}/python/bin/python3"
LIBRARIES = ("pycurl", "curl", "isal", "zstandard", "msgspec", "dulwich", "urllib3", "typing_extensions", "certifi")
NOT_COPIED = (
    "__pycache__",
    "test",
    "tests",
    "idlelib",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "lib2to3",
    "dist-packages",
)
STARTER = r"""
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
    char **args = calloc(argc + 7, sizeof *args);
    char *head[] = {"ld", "--library-path", OWN "/lib", "--argv0", OWN "/python/bin/python3", OWN "/python/bin/real"};
    memcpy(args, head, sizeof head);
    memcpy(args + 6, argv + 1, argc * sizeof *args);
    execv(OWN "/lib/ld.so", args);
    return 126;
}
"""


def executor_files() -> Path:
    """Return a root with firkin of this checkout and nothing of a distribution; it must not be changed."""
    state = hashlib.sha256(f"{Path(__file__).read_text()}{sys.version}".encode())
    for place, folders, names in os.walk(REPOSITORY / "src"):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(names):
            info = os.stat(os.path.join(place, name))
            state.update(f"{place}/{name}\0{info.st_size}\0{info.st_mtime_ns}\0".encode())
    target = cache_directory() / "files" / f"executor-{state.hexdigest()[:12]}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_suffix(".lock")):
        if not target.exists():
            for former in target.parent.glob("executor-*[0-9a-f]"):
                if former.is_dir() and former.stat().st_ctime < time.time() - 2 * 3600:  # not of a run beside this one
                    shutil.rmtree(former, ignore_errors=True)
            temporary = target.with_suffix(f".tmp-{os.getpid()}")
            _make(temporary)
            temporary.rename(target)
    return target


def _make(root: Path) -> None:
    own = root / OWN[1:]
    python = own / "python"
    (python / "bin").mkdir(parents=True)
    (own / "lib").mkdir()
    real = os.path.realpath(sys.executable)
    shutil.copy(real, python / "bin/real")
    ignore = shutil.ignore_patterns(*NOT_COPIED)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copytree(sysconfig.get_paths()["stdlib"], python / "lib" / version, symlinks=False, ignore=ignore)
    site = own / "site"
    site.mkdir()
    packages = Path(sysconfig.get_paths()["platlib"])
    for entry in packages.iterdir():
        if entry.name.partition(".")[0] in LIBRARIES or entry.name in (f"{name}.libs" for name in LIBRARIES):
            if entry.is_dir():
                shutil.copytree(entry, site / entry.name, ignore=ignore)
            else:
                shutil.copy(entry, site / entry.name)
    shutil.copytree(REPOSITORY / "src/firkin", site / "firkin", ignore=ignore)
    compile_all = ["-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash", "-s", str(root), str(own)]
    subprocess.run([sys.executable, *compile_all], check=False)
    _copy_libraries(own, [python / "bin/real", *own.rglob("*.so*")])
    subprocess.run(
        ["gcc", "-static", "-O", f'-DOWN="{OWN}"', "-x", "c", "-", "-o", str(python / "bin/python3")],
        input=STARTER.encode(),
        check=True,
    )
    for name in ("etc", "proc", "sys", "dev", "workspace", "tmp"):
        (root / name).mkdir()
    (root / "etc/hosts").touch()
    (root / "etc/resolv.conf").touch()
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "tmp").chmod(0o1777)
    (root / "busybox").mkdir()
    shutil.copy("/bin/busybox", root / "busybox/sh")
    subprocess.run(["chmod", "-R", "a+rX", str(own)], check=True)


def _copy_libraries(own: Path, programs: list[Path]) -> None:
    for program in programs:
        listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True).stdout
        for line in listed.splitlines():
            name, arrow, rest = line.strip().partition(" => ")
            path = rest.partition(" (")[0] if arrow else name.partition(" (")[0]
            if not path.startswith("/") or path.startswith(str(own)):
                continue
            target = own / "lib" / ("ld.so" if "/ld-" in path else Path(path).name)
            if not target.exists():
                shutil.copy(os.path.realpath(path), target)
