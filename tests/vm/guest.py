"""The disks of the virtual machine: Debian, made once by mmdebstrap and kept, and a disk with this checkout."""

import compileall
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from py_compile import PycInvalidationMode

from support.places import REPOSITORY, cache_directory, locked

HERE = Path(__file__).resolve().parent
SUITE = "bookworm"
PYTHON = (3, 11)  # the guest's
RECIPE_VERSION = "1"
DISK_SIZE, DATA_SIZE = "8G", "8G"  # of files with holes
PACKAGES = (
    "linux-image-cloud-amd64", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "apparmor", "uidmap",
    "python3", "busybox-static", "ca-certificates", "procps", "iproute2", "udev", "kmod", "zstd", "e2fsprogs", "xfsprogs",
)  # fmt: skip
EXCLUDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")

# The initial file system has what it takes to mount the disk and nothing else: it is unpacked by an emulated machine.
BEFORE_PACKAGES = r"""
mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"
printf 'MODULES=list\nCOMPRESS=zstd\n' >"$1/etc/initramfs-tools/conf.d/vm"
printf 'virtio_pci\nvirtio_blk\next4\n' >"$1/usr/share/initramfs-tools/modules.d/vm"
"""

AFTER_PACKAGES = r"""
printf 'vm\n' >"$1/etc/hostname"
printf '127.0.0.1 localhost vm\n' >"$1/etc/hosts"
printf '/dev/vdb /opt/firkin ext4 rw,noatime 0 0\n' >"$1/etc/fstab"
printf '/opt/firkin/site\n/opt/firkin/src\n' >"$1/usr/lib/python3/dist-packages/firkin.pth"
mkdir -p "$1/opt/firkin" "$1/data"
ln -s /opt/firkin/bin/firkin "$1/usr/local/bin/firkin"
for name in dev other; do chroot "$1" useradd --create-home --shell /bin/bash "$name"; done
for unit in getty@tty1 serial-getty@ttyS0 apt-daily.timer apt-daily-upgrade.timer fstrim.timer e2scrub_all.timer \
    e2scrub_reap.service dpkg-db-backup.timer systemd-timesyncd.service systemd-tmpfiles-clean.timer \
    systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-pstore.service systemd-binfmt.service \
    modprobe@drm.service sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount; do
    case $unit in *.*) ;; *) unit=$unit.service ;; esac
    ln -sf /dev/null "$1/etc/systemd/system/$unit"
done
cat >"$1/etc/systemd/system/runner.service" <<'UNIT'
[Unit]
Description=Runs what the tests send
RequiresMountsFor=/opt/firkin
After=systemd-logind.service systemd-user-sessions.service
[Service]
ExecStart=/usr/bin/python3 -I -S /opt/firkin/runner.py
Restart=always
StandardOutput=journal+console
[Install]
WantedBy=multi-user.target
UNIT
chroot "$1" systemctl --quiet enable runner.service
"""


@dataclass(frozen=True)
class Guest:
    """What the machine boots: files that are never written."""

    disk: Path
    kernel: Path
    initrd: Path


def recipe() -> str:
    """Return a name for the guest's disk that changes with what it is made of."""
    parts = [RECIPE_VERSION, SUITE, PACKAGES, EXCLUDED, BEFORE_PACKAGES, AFTER_PACKAGES, DISK_SIZE]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def ensure_guest() -> Guest:
    """Return the guest; it is made (two minutes, needs root) unless an earlier run left it."""
    cache = cache_directory() / "vm"
    cache.mkdir(exist_ok=True)
    place = cache / recipe()
    with locked(cache / "lock"):
        if not place.exists():
            for old in cache.glob("????????????"):
                shutil.rmtree(old)
            _make_guest(place)
    return Guest(place / "disk", place / "kernel", place / "initrd")


def _make_guest(place: Path) -> None:
    with tempfile.TemporaryDirectory(dir=place.parent, prefix="tmp-") as temporary:
        root, made = Path(temporary) / "root", Path(temporary) / "made"
        made.mkdir()
        command = ["mmdebstrap", "--quiet", "--format=directory", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
        command += [f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED]
        command += [f"--essential-hook={BEFORE_PACKAGES}", f"--customize-hook={AFTER_PACKAGES}", SUITE, str(root)]
        _run(command)
        (kernel,) = (root / "boot").glob("vmlinuz-*")
        (initrd,) = (root / "boot").glob("initrd.img-*")
        shutil.copyfile(kernel, made / "kernel")
        shutil.copyfile(initrd, made / "initrd")
        make_disk(made / "disk", DISK_SIZE, root)
        made.rename(place)


def make_disk(disk: Path, size: str, tree: Path) -> None:
    """Write an ext4 file system of at most `size` with the files of `tree`."""
    _run(["mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=1,lazy_journal_init=1", "-d", str(tree), str(disk), size])


def ensure_site() -> Path:
    """Return a directory with the packages that firkin imports, for the guest's Python."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    key = hashlib.sha256(json.dumps([project["dependencies"], PYTHON]).encode()).hexdigest()[:12]
    cache = cache_directory() / "vm"
    cache.mkdir(exist_ok=True)
    place = cache / f"site-{key}"
    with locked(cache / "lock"):
        if not place.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix="tmp-") as temporary:
                command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
                command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON[0]}.{PYTHON[1]}"]
                _run([*command, f"--target={temporary}/site", *project["dependencies"]])
                (Path(temporary) / "site").rename(place)
    return place


def make_share(disk: Path) -> None:
    """Write the disk with this checkout, the packages that it imports, and the runner."""
    with tempfile.TemporaryDirectory(prefix="share-") as temporary:
        share = Path(temporary)
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / "src", share / "src", ignore=ignore)
        shutil.copytree(ensure_site(), share / "site", ignore=ignore)
        shutil.copyfile(HERE / "runner.py", share / "runner.py")
        (share / "bin").mkdir()
        program = share / "bin" / "firkin"
        program.write_text("#!/usr/bin/python3\nimport sys\n\nfrom firkin.cli.main import main\n\nsys.exit(main())\n")
        program.chmod(0o755)
        share.chmod(0o755)
        if sys.version_info[:2] == PYTHON:  # else the guest does it, slowly
            for tree in ("src", "site"):
                compileall.compile_dir(share / tree, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
        make_disk(disk, "512M", share)


def make_data(disk: Path) -> None:
    """Make an empty disk, for the file systems that tests make on it."""
    with disk.open("wb") as handle:
        os.truncate(handle.fileno(), int(DATA_SIZE.rstrip("G")) << 30)


def _run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if result.returncode:
        raise RuntimeError(f"{command[0]} failed ({result.returncode}):\n{result.stdout}{result.stderr}")
