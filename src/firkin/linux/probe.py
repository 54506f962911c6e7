"""Facts of this machine that decide how builds can run. Does I/O. The modules above may import it.

Cheap facts are read from files. Others need a trial (may this process make namespaces, mount an overlay in the
store, mount /proc?): it runs in a forked child and leaves no trace.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Literal

import msgspec

from firkin.errors import HostError
from firkin.linux import idmap, syscalls
from firkin.linux.enter import NamespacePlan, fork_into_namespaces
from firkin.linux.machine import kernel_version

if TYPE_CHECKING:
    from firkin.linux.idmap import IdMaps

IdMapping = Literal["root", "identity", "subordinate", "single"]
"""How the ids of a worker's user namespace are mapped, best first; root needs none."""

CAP_CHOWN = 0
CAP_DAC_OVERRIDE = 1
CAP_FOWNER = 3
CAP_SETGID = 6
CAP_SETUID = 7
CAP_SYS_CHROOT = 18
CAP_SYS_ADMIN = 21
MAKING_FILES = (("CAP_CHOWN", CAP_CHOWN), ("CAP_FOWNER", CAP_FOWNER), ("CAP_DAC_OVERRIDE", CAP_DAC_OVERRIDE))
"""The capabilities for making an image's files with any owner and mode, and for writing into its directories."""

_HELPER_PATH = ("/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin", "/run/wrappers/bin")


class Trial(msgspec.Struct, frozen=True):
    """The result of entering namespaces with one id mapping: `op` is "" on success, else the operation that failed.

    `proc` says whether a PID namespace with its own /proc worked, too.
    """

    mapping: IdMapping
    op: str = ""
    errno: int = 0
    said: str = ""
    proc: bool = False

    @property
    def ok(self) -> bool:
        """Say whether overlay mounts work with this mapping."""
        return not self.op


class HostFacts(msgspec.Struct, frozen=True):
    """The facts; `trials` is empty if none were requested."""

    uid: int
    gid: int
    user: str
    machine: str
    kernel: tuple[int, int]
    capabilities: int
    no_new_privs: bool
    seccomp: bool
    restriction: str  # the sysctl that forbids user namespaces, "" if none does
    overlay: bool
    helpers: tuple[str, str]  # newuidmap, newgidmap; "" where missing
    subordinate_uids: tuple[tuple[int, int], ...] = ()
    subordinate_gids: tuple[tuple[int, int], ...] = ()
    trials: tuple[Trial, ...] = ()
    root_writable: bool = True

    def can(self, capability: int) -> bool:
        """Say whether this process has a capability."""
        return bool(self.capabilities >> capability & 1)

    def trial(self, mapping: IdMapping) -> Trial | None:
        """Return the trial of a mapping, None if it was not tried."""
        return next((trial for trial in self.trials if trial.mapping == mapping), None)

    def maps(self, mapping: IdMapping) -> IdMaps | None:
        """Return the maps of a mapping, None if it needs no user namespace. Raises OSError."""
        match mapping:
            case "root":
                return None
            case "identity":
                return idmap.identity_maps()
            case "single":
                return idmap.single_maps(self.uid, self.gid)
            case "subordinate":
                return idmap.subordinate_maps(
                    self.uid, self.gid, self.subordinate_uids, self.subordinate_gids, self.helpers
                )

    def mappings(self) -> tuple[IdMapping, ...]:
        """Return the mappings that the cheap facts do not rule out, best first."""
        mappings: list[IdMapping] = []
        if self.uid == 0 and self.can(CAP_SYS_ADMIN):
            mappings.append("root")
        if self.can(CAP_SETUID) and self.can(CAP_SETGID) and self.uid == 0:
            mappings.append("identity")
        elif self.subordinate_uids and self.subordinate_gids and all(self.helpers) and not self.no_new_privs:
            mappings.append("subordinate")
        mappings.append("single")
        return tuple(mappings)


def user_name() -> str:
    """Return the login name of this process's user, "" if the id has none."""
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return ""


def probe_host(*, user: str = "", trial_dir: str | None = None, every_trial: bool = False) -> HostFacts:
    """Find out the facts.

    `user` is the name to look up in /etc/subuid (entries by number count, too). With `trial_dir`, a directory
    on the file system of the store, id mappings are tried until one works, or all of them with `every_trial`.
    Call it before the process has a second thread.
    """
    status = _read_status()
    capabilities = int(status.get("CapEff", "0"), 16)
    uid = os.geteuid()
    facts = HostFacts(
        uid=uid,
        gid=os.getegid(),
        user=user,
        machine=os.uname().machine,
        kernel=kernel_version(),
        capabilities=capabilities,
        no_new_privs=status.get("NoNewPrivs") == "1",
        seccomp=status.get("Seccomp", "0") != "0",
        restriction=_restriction(uid),
        overlay=_has_overlay(),
        helpers=(_find("newuidmap"), _find("newgidmap")),
        subordinate_uids=idmap.subordinate_uids(user, uid),
        subordinate_gids=idmap.subordinate_gids(user, uid),
        root_writable=os.access("/", os.W_OK),
    )
    if trial_dir is None:
        return facts
    trials: list[Trial] = []
    for mapping in facts.mappings():
        trials.append(_try(mapping, facts.maps(mapping), trial_dir))
        if trials[-1].ok and not every_trial:
            break
    return msgspec.structs.replace(facts, trials=tuple(trials))


def _try(mapping: IdMapping, maps: IdMaps | None, directory: str) -> Trial:
    """Enter namespaces and mount in a child, which reports the operation that failed."""
    scratch = f"{directory}/trial-{os.urandom(6).hex()}-{mapping}"
    read_end, write_end = os.pipe()

    def child() -> int:
        os.write(write_end, _mount_as_a_step_would(scratch).encode())
        # Removed in the child: some files may belong to ids that the process outside has no right to.
        _remove(scratch)
        return 0

    try:
        os.mkdir(scratch, 0o700)
        pid = fork_into_namespaces(NamespacePlan(maps=maps), child)
    except HostError as error:
        os.close(read_end)
        os.rmdir(scratch)
        return Trial(mapping, error.code, 0, error.message)
    except OSError as error:
        os.close(read_end)
        raise HostError(f"cannot write to `{directory}`: {(error.strerror or '').lower()}", code="trial") from error
    finally:
        os.close(write_end)
    with open(read_end, encoding="utf-8") as file:
        op, _, number = file.read().partition(" ")
    status = os.waitpid(pid, 0)[1]
    if status and not op:
        return Trial(mapping, "trial", 0, f"it ended with {os.waitstatus_to_exitcode(status)}")
    if op == "proc":
        return Trial(mapping, proc=False)
    if op:
        return Trial(mapping, op, int(number), os.strerror(int(number)).lower())
    return Trial(mapping, proc=True)


def _mount_as_a_step_would(scratch: str) -> str:
    """Return "" on success, else the operation that failed and its errno."""
    op = "overlay"
    mounted = False
    try:
        for name in ("lower", "upper", "work"):
            os.mkdir(f"{scratch}/{name}")
        options = {"lowerdir": "lower", "upperdir": "upper", "workdir": "work"}
        data = ",".join(f"{key}={scratch}/{name}" for key, name in options.items())
        # Without `volatile` the kernel flushes the whole file system to disk at unmounting.
        syscalls.mount("overlay", f"{scratch}/lower", "overlay", 0, f"{data},userxattr,volatile")
        mounted = True
        op = "overlay-write"
        try:
            with open(f"{scratch}/lower/file", "wb") as file:
                file.write(b"trial")
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise  # a full disk says nothing about the mapping
        op = "mount-api"
        tree = syscalls.open_tree_clone(scratch)
        syscalls.mount_setattr(tree, syscalls.MOUNT_ATTR_NODEV)
        os.close(tree)
        # The work directory can be removed only after unmounting.
        mounted = False
        syscalls.umount2(f"{scratch}/lower", syscalls.MNT_DETACH)
        op = "pid-namespace"
        syscalls.unshare(syscalls.CLONE_NEWPID)
    except OSError as error:
        if mounted:
            syscalls.umount2(f"{scratch}/lower", syscalls.MNT_DETACH)
        return f"{op} {error.errno}"
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            context = syscalls.fsopen("proc")
            syscalls.fsconfig_create(context)
            syscalls.fsmount(context)
            code = 0
        except OSError:
            pass  # in a container whose /proc has masked paths, the kernel allows no new /proc
        finally:
            os._exit(code)
    return "proc 1" if os.waitpid(pid, 0)[1] else ""


def _remove(path: str) -> None:
    os.chmod(path, 0o700)
    for entry in os.scandir(path):
        if entry.is_dir(follow_symlinks=False):
            _remove(entry.path)
        else:
            os.unlink(entry.path)
    os.rmdir(path)


def may_make_any_file() -> bool:
    """Say whether this process may make files of all owners and modes, and write into directories of others."""
    return all(has_capability(number) for _, number in MAKING_FILES)


def has_capability(number: int) -> bool:
    """Say whether this process has a capability; `HostFacts.can` says that about the process that was probed."""
    return bool(int(_read_status().get("CapEff", "0"), 16) >> number & 1)


def _read_status() -> dict[str, str]:
    with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
        pairs = (line.partition(":") for line in file)
        return {key: value.strip() for key, _, value in pairs}


def _read_number(path: str, default: int) -> int:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return default


def _restriction(uid: int) -> str:
    """Return the sysctl that forbids users, or everybody, to make user namespaces; "" if none does."""
    if _read_number("/proc/sys/user/max_user_namespaces", 0) == 0:
        return "user.max_user_namespaces=0"
    if uid == 0:
        return ""
    if _read_number("/proc/sys/kernel/unprivileged_userns_clone", 1) == 0:
        return "kernel.unprivileged_userns_clone=0"
    if _read_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 0) == 1:
        return "kernel.apparmor_restrict_unprivileged_userns=1"
    return ""


def _has_overlay() -> bool:
    # A kernel module that is not loaded is not listed. Only a mount by root loads it.
    try:
        with open("/proc/filesystems", encoding="ascii") as file:
            return any(line.split()[-1:] == ["overlay"] for line in file)
    except OSError:
        return False


def _find(name: str) -> str:
    return next((f"{part}/{name}" for part in _HELPER_PATH if os.access(f"{part}/{name}", os.X_OK)), "")
