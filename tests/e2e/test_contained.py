"""What a container sees, and what it cannot do: plans performed by the real kernel, without a monitor."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.contained import ID, MAPS, Box, Running, contained_box

from firkin.containers.documents.config import Device, Ulimit
from firkin.containers.documents.record import MountPoint
from firkin.errors import ContainerError

pytestmark = [pytest.mark.root]


@pytest.fixture(params=list(MAPS))
def box(request: pytest.FixtureRequest) -> Iterator[Box]:
    yield from contained_box(request.param)


def test_is_process_1_in_namespaces_of_its_own(box: Box) -> None:
    ended = box.run("sh", "-c", "echo $$ $PPID; hostname; cat /proc/1/comm; ls /sys/class/net; umask; pwd; env; ls /proc/self/fd")
    assert ended.out.splitlines() == [
        "1 0", "box", "sh", "lo", "0022", "/", "HOSTNAME=box", "SHLVL=1", "HOME=/root",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PWD=/", "0", "1", "2", "3",
    ]  # fmt: skip
    assert ended.code == 0


def test_has_the_usual_capabilities(box: Box) -> None:
    ended = box.run("sh", "-c", "grep -E 'Cap|Seccomp:|NoNew' /proc/self/status")
    found = dict(line.split(":\t") for line in ended.out.splitlines())
    usual = "00000000a80425fb"
    assert found == {
        "CapInh": "0" * 16, "CapPrm": usual, "CapEff": usual, "CapBnd": usual, "CapAmb": "0" * 16,
        "NoNewPrivs": "0", "Seccomp": "2",
    }  # fmt: skip


def test_ends_with_the_code_of_its_command(box: Box) -> None:
    assert box.run("sh", "-c", "exit 7").code == 7
    assert box.run("sh", "-c", "exit 7", init=True).code == 7
    assert box.run("sh", "-c", "kill -TERM $$", init=True).code == 143


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (("nosuch",), 127, 'exec: "nosuch": executable file not found in $PATH'),
        (("/nosuch",), 127, "no such file or directory"),
        (("/etc",), 126, "is a directory"),
        (("/etc/passwd",), 126, "permission denied"),
    ],
)
def test_says_why_a_command_cannot_run(box: Box, argv: tuple[str, ...], code: int, words: str) -> None:
    ended = box.run(*argv)
    assert (ended.code, words in ended.failure) == (code, True), ended.failure


def test_runs_again_on_what_it_left(box: Box) -> None:
    plan = box.plan("sh", "-c", "cat /left 2>&1; echo here >/left", auto_remove=True)
    assert "No such file" in Running(plan.plan, plan.maps).wait().out
    assert Running(plan.plan, plan.maps).wait().out == "here\n"


def test_terminal_is_the_containers_own(box: Box) -> None:
    ended = box.run("sh", "-c", "tty; echo told >/dev/console; echo $TERM; test -t 0", config={"tty": True})
    assert (ended.code, ended.out) == (0, "/dev/pts/0\r\ntold\r\nxterm\r\n")


def test_second_command_joins(box: Box) -> None:
    plan = box.plan("sleep", "60")
    first = Running(plan.plan, plan.maps)
    pidfd = os.pidfd_open(first.pid)
    try:
        changes = {"argv": ("sh", "-c", "hostname; cat /proc/1/cmdline | tr '\\0' ' '; ls -l /proc/self/exe; pwd; exit 3"),
                   "cwd": "/tmp"}  # fmt: skip
        ended = Running(plan.exec, None, changes=changes, joined=(pidfd,)).wait()
    finally:
        os.kill(first.pid, 9)
        os.close(pidfd)
    assert ended.code == 3, ended
    assert ended.out.split()[:4] == ["box", "sleep", "60", "lrwxrwxrwx"] and "/bin/busybox" in ended.out and "/tmp" in ended.out
    assert first.wait().code == -9


def test_user_is_found_in_the_containers_files(box: Box) -> None:
    if box.maps is not None and box.maps.single_id:
        ended = box.run("sh", "-c", "id; echo $HOME", config={"user": "bob"})
        assert ended.out.splitlines() == ["uid=0(root) gid=0(root)", "/home/bob"]
        return
    ended = box.run("sh", "-c", "id; echo $HOME; grep CapEff /proc/self/status", config={"user": "bob"}, group_add=("tty", "77"))
    assert ended.out.splitlines() == [
        "uid=1000(bob) gid=1000(bob) groups=5(tty),50(staff),77,1000(bob)", "/home/bob", "CapEff:\t" + "0" * 16
    ]  # fmt: skip
    assert box.run("id", config={"user": "7:8"}).out == "uid=7 gid=8 groups=8\n"


@pytest.mark.parametrize(("config", "host", "words"), [
    ({"user": "eve"}, {}, "unable to find user eve: no matching entries in passwd file"),
    ({}, {"group_add": ("evil",)}, "unable to find group evil: no matching entries in group file"),
])  # fmt: skip
def test_unknown_users_and_groups(box: Box, config: dict[str, Any], host: dict[str, Any], words: str) -> None:
    ended = box.run("id", config=config, **host)
    assert (ended.code, ended.failure) == (128, words)


def test_files_of_users_may_be_pipes(box: Box) -> None:
    """A pipe at /etc/passwd must not hold anybody up."""
    passwd = box.place / "trees/base/fs/etc/passwd"
    passwd.unlink()
    os.mkfifo(passwd)
    assert box.run("sh", "-c", "echo $HOME").out == "/\n"


def test_working_directory_is_made(box: Box) -> None:
    ended = box.run("sh", "-c", "pwd; ls -ld .", config={"working_dir": "/a/b"})
    assert ended.out.startswith("/a/b\ndrwxr-xr-x    2 root     root")


def test_working_directory_cannot_lead_out(box: Box) -> None:
    """CVE-2024-21626: a path through /proc/self/fd reaches what the process holds open."""
    for number in (*range(3, 10), 200, 201, 202, 203):
        ended = box.run("ls", config={"working_dir": f"/proc/self/fd/{number}"})
        assert ended.code in (126, 127, 128), (number, ended)


def test_capabilities_are_added_and_dropped(box: Box) -> None:
    show = ("sh", "-c", "grep CapEff /proc/self/status")
    assert box.run(*show, cap_drop=("ALL",)).out == "CapEff:\t0000000000000000\n"
    assert box.run(*show, cap_drop=("ALL",), cap_add=("cap_chown",)).out == "CapEff:\t0000000000000001\n"
    assert box.run(*show, cap_drop=("MKNOD", "NET_RAW")).out == "CapEff:\t00000000a00405fb\n"
    known = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd"))
    assert int(box.run(*show, privileged=True).out.split()[1], 16) & int(known.split()[1], 16) == int(known.split()[1], 16)


def test_inheritable_capabilities_are_empty(box: Box) -> None:
    """CVE-2022-24769."""
    ended = box.run("sh", "-c", "grep -E 'CapInh|CapAmb' /proc/self/status", cap_add=("ALL",))
    assert ended.out.split() == ["CapInh:", "0" * 16, "CapAmb:", "0" * 16]


def test_privileges_cannot_grow(box: Box) -> None:
    ended = box.run("grep", "-E", "NoNewPrivs|Seccomp:", "/proc/self/status", security_opt=("no-new-privileges",))
    assert ended.out.split() == ["NoNewPrivs:", "1", "Seccomp:", "2"]
    ended = box.run("grep", "Seccomp:", "/proc/self/status", security_opt=("seccomp=unconfined",))
    if box.maps is None or not box.maps.single_id:
        assert ended.out.split() == ["Seccomp:", "0"]


def test_seccomp_profile_of_ones_own(box: Box) -> None:
    profile = '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 12}]}'
    ended = box.run("sh", "-c", "mkdir /x; rmdir /tmp", security_opt=(f"seccomp={profile}",))
    assert "memory" in ended.out, ended


def test_default_profile_refuses(box: Box) -> None:
    ended = box.run("sh", "-c", "mount -t tmpfs x /tmp; unshare -r true; dmesg -c", cap_add=("SYSLOG",))
    assert ended.out.count("Operation not permitted") + ended.out.count("permission denied") >= 2, ended.out


def test_masked_and_readonly_paths(box: Box) -> None:
    ended = box.run("sh", "-c", "wc -c </proc/timer_list; ls /sys/firmware | wc -l; echo 1 >/proc/sys/kernel/printk; mkdir /proc/irq/x")
    assert ended.out.splitlines()[:2] == ["0", "0"] and ended.out.count("Read-only file system") >= 1, ended.out
    ended = box.run("sh", "-c", "ls /proc/acpi | wc -l; cat /home/x; touch /home/y", masked_paths=("/home/x",), readonly_paths=("/home",))
    assert "Read-only" in ended.out


def test_masks_are_the_real_null_device(box: Box) -> None:
    """CVE-2025-31133: whoever replaces /dev/null in the root must not have its target mounted writable."""
    (box.place / "trees/base/fs/dev").mkdir()
    (box.place / "trees/base/fs/dev/null").symlink_to("/proc/sys/kernel/core_pattern")
    ended = box.run("sh", "-c", "stat -c '%F %t:%T' /proc/timer_list; stat -c '%F' /dev/null; chmod 0 /proc/timer_list")
    assert ended.out.splitlines()[:2] == ["character special file 1:3", "character special file"]
    assert "Read-only" in ended.out or "not permitted" in ended.out
    assert os.stat("/dev/null").st_mode & 0o777 == 0o666


def test_console_cannot_be_led_elsewhere(box: Box) -> None:
    """CVE-2025-52565: the terminal goes over our own /dev/console, whatever the image has there."""
    (box.place / "trees/base/fs/dev").mkdir()
    (box.place / "trees/base/fs/dev/console").symlink_to("/proc/sys/kernel/core_pattern")
    ended = box.run("sh", "-c", "stat -c %F /dev/console; grep -c ' /dev/console ' /proc/mounts", config={"tty": True})
    assert ended.out.split("\r\n")[:2] == ["character special file", "1"]


def test_writes_to_proc_reach_only_proc(box: Box) -> None:
    """CVE-2025-52881: /proc of the image is a link, or holds files that look like the kernel's."""
    proc = box.place / "trees/base/fs/proc"
    (proc / "sys/net/ipv4").mkdir(parents=True)
    (proc / "sys/net/ipv4/ip_unprivileged_port_start").write_text("mine\n")
    ended = box.run("cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start")
    assert ended.out == "0\n"
    assert (proc / "sys/net/ipv4/ip_unprivileged_port_start").read_text() == "mine\n"
    shutil.rmtree(proc)
    proc.symlink_to("/tmp")
    assert box.run("true").code == 127


def test_sysctls(box: Box) -> None:
    ended = box.run("cat", "/proc/sys/net/ipv4/ip_forward", sysctls={"net.ipv4.ip_forward": "1"})
    assert ended.out == "1\n"
    ended = box.run("true", sysctls={"net.nosuch": "1"})
    assert ended.code == 128 and "net/nosuch" in ended.failure


def test_readonly_root(box: Box) -> None:
    ended = box.run("sh", "-c", "touch /x; touch /dev/shm/y && echo fine", readonly_rootfs=True)
    assert "Read-only file system" in ended.out and ended.out.endswith("fine\n")


def test_own_devices_only(box: Box) -> None:
    disk = next(os.stat(f"/dev/{name}").st_rdev for name in os.listdir("/dev") if name in ("vda", "sda", "loop0"))
    make = f"mknod /disk b {os.major(disk)} {os.minor(disk)}; head -c1 /disk; echo >/dev/null; head -c1 /dev/zero | wc -c"
    ended = box.run("sh", "-c", make)
    assert "not permitted" in ended.out or "denied" in ended.out
    assert ended.out.endswith("1\n")


def test_given_device(box: Box) -> None:
    given = (Device("/dev/fuse" if os.path.exists("/dev/fuse") else "/dev/null", "/dev/given/here"),)
    assert box.run("stat", "-c", "%F", "/dev/given/here", devices=given).out == "character special file\n"
    ended = box.run("true", devices=(Device("/dev/nosuch", "/dev/x"),))
    assert 'custom device "/dev/nosuch": no such file or directory' in ended.failure


def test_limits_and_shm(box: Box) -> None:
    ended = box.run("sh", "-c", "ulimit -n; ulimit -Hc; df -k /dev/shm | tail -1", shm_size=1 << 20,
                    ulimits=(Ulimit("nofile", 99, 100), Ulimit("core", 0, 0)), oom_score_adj=500)  # fmt: skip
    assert ended.out.split()[:4] == ["99", "0", "shm", "1024"], ended.out
    assert box.run("cat", "/proc/self/oom_score_adj", oom_score_adj=500).out == "500\n"


def bind(source: Path, target: str, **fields: Any) -> MountPoint:
    return MountPoint("bind", target, source=str(source), **{"propagation": "rprivate", **fields})


def test_binds(box: Box) -> None:
    there = box.place / "there"
    there.mkdir(mode=0o777)
    there.chmod(0o777)
    (there / "file").write_text("text\n")
    (box.place / "link").symlink_to("there/file")
    mounts = (
        bind(there, "/deep/in", rw=False), bind(box.place / "link", "/deep/in/file"), bind(there, "/tmp"),
        bind(box.place / "made", "/made", create_source=True), bind(there, "/one", subpath="file"),
        MountPoint("tmpfs", "/mem", options=("size=64k", "mode=700", "exec")),
    )  # fmt: skip
    if box.maps is not None:
        mounts = tuple(mount for mount in mounts if not mount.create_source)
    ended = box.run("sh", "-c", "cat /deep/in/file /one; touch /deep/in/x; touch /tmp/y; stat -c %a /mem; grep ' /mem ' /proc/mounts; "
                    "test ! -s /deep/in/file; ls -d /made", mounts=mounts)  # fmt: skip
    assert ended.out.startswith("text\ntext\ntouch: /deep/in/x: Read-only file system\n700\n"), ended.out
    assert "size=64k" in ended.out and "noexec" not in ended.out and "nosuid,nodev" in ended.out
    assert (there / "y").exists() and not (there / "x").exists()
    assert not (Path(box.directory) / "upper/deep").exists()  # mount points are no changes


def test_mount_points_stay_in_the_root(box: Box) -> None:
    """A link in the image must not lead a mount, or a file that is made for one, to the machine."""
    (box.place / "trees/base/fs/evil").symlink_to("/../../../../../../../.." + str(box.place))
    (box.place / "there").mkdir()
    ended = box.run("sh", "-c", "ls -d /evil/.", mounts=(bind(box.place / "there", "/evil/new"),))
    assert ended.code in (0, 128), ended
    assert not (box.place / "new").exists()


def test_kind_of_a_mount_must_fit(box: Box) -> None:
    (box.place / "there").mkdir()
    ended = box.run("true", mounts=(bind(box.place / "there", "/etc/passwd"),))
    assert ended.code == 127 and "mount a directory onto a file" in ended.failure


def test_covers_files_of_proc_that_may_be(box: Box) -> None:
    (box.place / "cpus").write_text("none\n")
    assert box.run("cat", "/proc/cpuinfo", mounts=(bind(box.place / "cpus", "/proc/cpuinfo"),)).out == "none\n"
    with pytest.raises(ContainerError, match="inside /proc"):
        box.run("true", mounts=(bind(box.place / "cpus", "/proc/1/environ"),))


def test_joins_namespaces_of_another(box: Box) -> None:
    first = box.start("sleep", "60")
    pidfd = os.pidfd_open(first.pid)
    try:
        modes = {"network_mode": f"container:{ID}", "pid_mode": f"container:{ID}", "ipc_mode": f"container:{ID}"}
        Running(first.plan.exec, None, changes={"argv": ("touch", "/dev/shm/shared")}, joined=(pidfd,)).wait()
        other = box.another()
        plan = other.plan("sh", "-c", "ls /dev/shm; cat /proc/1/comm; echo $$ >/dev/null; ls /sys/class/net", **modes)
        assert [id for _, id in plan.targets] == [ID]
        ended = Running(plan.plan, plan.maps, joined=(pidfd,)).wait()
    finally:
        os.kill(first.pid, 9)
        os.close(pidfd)
        first.wait()
    assert (ended.code, ended.out) == (0, "shared\nsleep\nlo\n"), ended


def test_shares_what_it_is_told_to(box: Box) -> None:
    ended = box.run("sh", "-c", "hostname; readlink /proc/self/ns/ipc; readlink /proc/self/ns/net; ls -d " f"/proc/{os.getpid()}",
                    network_mode="host", pid_mode="host", ipc_mode="host", uts_mode="host")  # fmt: skip
    assert ended.out.split() == [
        os.uname().nodename, os.readlink("/proc/self/ns/ipc"), os.readlink("/proc/self/ns/net"), f"/proc/{os.getpid()}"
    ]  # fmt: skip


def test_nobody_in_it_can_read_what_enters_it(box: Box) -> None:
    """CVE-2019-5736: what enters a running container is not dumpable, so its program and memory stay closed."""
    watch = "while :; do for p in /proc/[0-9]*; do case $p in /proc/1|/proc/self) ;; *) readlink $p/exe;; esac; done; done"
    plan = box.plan("sh", "-c", watch, cap_drop=("SYS_PTRACE",))
    first = Running(plan.plan, plan.maps)
    pidfd = os.pidfd_open(first.pid)
    for _ in range(5):
        Running(plan.exec, None, changes={"argv": ("true",)}, joined=(pidfd,)).wait()
    os.kill(first.pid, 9)
    os.close(pidfd)
    assert set(first.wait().out.split()) <= {"/bin/busybox"}


def test_reaper_cannot_be_read(box: Box) -> None:
    """The reaper is a fork of the monitor: its program and memory are not for the container."""
    ended = box.run("sh", "-c", "readlink /proc/1/exe; cat /proc/1/environ; ls /proc/1/fd", init=True)
    assert {line.rpartition(": ")[2] for line in ended.out.splitlines()} == {"Permission denied"}, ended.out


@pytest.mark.parametrize("options", [{}, {"cap_add": ("SYS_PTRACE",)}, {"cap_drop": ("ALL",)}, {"security_opt": ("no-new-privileges",)}])
@pytest.mark.parametrize("user", ["", "1000:1000"])
def test_reaper_has_no_more_rights_than_its_command(box: Box, options: dict[str, Any], user: str) -> None:
    """Who may trace it (SYS_PTRACE) is what it is: all capabilities, under no filter, would be a way out."""
    told = "grep -hE '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/{}/status"
    ended = box.run("sh", "-c", "; ".join((told.format(1), "echo -", told.format("self"))), init=True, config={"user": user}, **options)
    reaper, command = ended.out.split("-\n")
    assert reaper == command and "Seccomp:\t2" in reaper, ended.out


def test_reaper_passes_signals_on_and_reaps(box: Box) -> None:
    run = box.start("sh", "-c", "trap 'echo got; exit 5' USR1; (sleep 0.1 &); echo ready; while :; do sleep 0.1; done", init=True)
    assert os.read(run.output, 6) == b"ready\n"
    os.kill(run.pid, 10)
    ended = run.wait()
    assert (ended.code, ended.out) == (5, "got\n")


def test_dies_with_whoever_started_it(box: Box) -> None:
    """Whatever user it became: a change of ids clears the death signal."""
    plan = box.plan("sleep", "60", config={"user": "1000"})
    read, write = os.pipe()
    starter = os.fork()
    if starter == 0:
        run = Running(plan.plan, plan.maps)
        os.write(write, str(run.pid).encode())
        os._exit(0)
    os.waitpid(starter, 0)
    pid = int(os.read(read, 20))
    for fd in (read, write):
        os.close(fd)
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                raise ProcessLookupError
            time.sleep(0.05)
