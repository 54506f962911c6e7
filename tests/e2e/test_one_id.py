"""An ordinary user without subordinate ids: owners that no file can have, and what helps commands along."""

import os
import tarfile
from pathlib import Path

import pytest
from support.accounts import Firkin, make_firkin
from support.image import build_image
from support.programs import compiled
from support.registry import Registry

pytestmark = [pytest.mark.registry, pytest.mark.root, pytest.mark.userns]

DOCKERFILE = """\
FROM busybox
RUN mkdir -p /etc/apt/apt.conf.d && echo own >/etc/apt/apt.conf.d/own
RUN chmod -R 700 /etc/apt && cat /etc/apt/apt.conf.d/*
RUN rm /etc/apt/apt.conf.d/*
COPY --chown=7:8 file /file
USER 1000:1001
RUN --mount=type=cache,target=/cache,uid=1000,gid=1001,mode=0700 touch /cache/x /tmp/mine
"""


@pytest.fixture
def firkin(scratch: Path, registry: Registry) -> Firkin:
    os.umask(0o022)
    return make_firkin("plain", scratch / "plain", registry.url)


@pytest.fixture
def context(firkin: Firkin) -> Path:
    place = firkin.directory("context")
    (place / "Dockerfile").write_text(DOCKERFILE)
    (place / "file").write_text("text")
    return place


def test_owners_are_in_layers_and_tars(firkin: Firkin, context: Path) -> None:
    image = build_image(firkin, context)
    tar = firkin.place / "out.tar"
    firkin.run("build", "-o", f"type=tar,dest={tar}", context)
    with tarfile.open(tar) as archive:
        for member in (image.member("file"), archive.getmember("file")):
            assert (member.uid, member.gid) == (7, 8)
        for member in (image.member("tmp/mine"), archive.getmember("tmp/mine")):
            assert (member.uid, member.gid) == (1000, 1001)


def test_what_apt_is_shown_is_in_no_layer(firkin: Firkin, context: Path) -> None:
    image = build_image(firkin, context)
    names = {name for layer in image.layers for name in layer.members if "apt.conf.d/" in name}
    assert names == {"etc/apt/apt.conf.d/own", "etc/apt/apt.conf.d/.wh.own"}


GIVEN = """\
FROM busybox
COPY --chown=7:8 file /kept
COPY --chown=7:8 file /given
COPY --chown=7:8 file /edited
COPY owner /owner
RUN mkdir -p /d/deep /whole/of/it && cd /d && touch a b c e deep/f && chown 1:2 a && mv a moved && ln moved second && \
    chown 3 b && chown 4:5 b && ln -s b link && chown -h 6:7 link && mkfifo pipe && chown 8:9 pipe && \
    chown 10:11 deep/../c && chown -R 12:13 /whole && ln -s c to && chown 14:15 to && name=$(printf 'new\\nline') && \
    touch "$name" && chown 16:17 "$name" && chown 2147483647:4294967294 e
RUN mkdir /again && cd /again && for n in 1 2 3 4 5 6 7 8; do touch x$n && chown 99:99 x$n && rm x$n && touch y$n; done
RUN chown root:root /given && sed -i s/text/changed/ /edited && echo more >>/kept && chown 20:21 /d/moved
RUN mkdir -p /inner/w && cp /bin/busybox /inner && touch /inner/w/f && \
    chroot /inner /busybox sh -c 'PATH=/; busybox chown 30:31 w/f && cd w && /busybox chown 32:33 ../../../w && /busybox chown 34:35 /busybox'
RUN /owner
RUN ! chown 1 /nowhere && chown 1 /dev/null && chown 1 /proc/self/fd/1 && test "$(stat -c %u /d/moved)" = 0
FROM scratch
COPY --from=0 / /
"""
# The calls that busybox does not make.
OWNER = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
static int made(const char *name) { return open(name, O_CREAT | O_RDWR, 0644); }
static int expect(const char *what, long result, int number) {
    if ((result < 0 ? errno : 0) == number) return 0;
    printf("%s: %d\n", what, errno);
    return 1;
}
int main(void) {
    int wrong = 0;
    mkdir("/calls", 0755);
    int folder = open("/calls", O_RDONLY | O_DIRECTORY);
    wrong += expect("fchown", fchown(made("/calls/fchown"), 40, 41), 0);
    made("/calls/at");
    wrong += expect("fchownat", fchownat(folder, "at", 42, 43, 0), 0);
    int empty = made("/calls/empty");
    wrong += expect("empty path", fchownat(empty, "", 44, 45, AT_EMPTY_PATH), 0);
    symlink("at", "/calls/link");
    wrong += expect("link itself", fchownat(folder, "link", 46, 47, AT_SYMLINK_NOFOLLOW), 0);
    int gone = made("/calls/gone");
    rename("/calls/gone", "/calls/renamed");
    wrong += expect("renamed, by descriptor", fchown(gone, 48, 49), 0);
    made("/calls/half");
    wrong += expect("half", chown("/calls/half", 50, -1), 0);
    int unlinked = made("/calls/unlinked");
    unlink("/calls/unlinked");
    wrong += expect("unlinked", fchown(unlinked, 51, 51), 0);
    made("/calls/setuid");
    chmod("/calls/setuid", 04755);
    wrong += expect("setuid", chown("/calls/setuid", 52, 53), 0);
#ifdef __x86_64__
    static char name[] = "/calls/old";
    made(name);
    long result;  /* lchown of 16 bits, as a 32-bit program calls it; 65535 keeps the group */
    char *low = (char *)syscall(SYS_mmap, 0, 4096, 3, 0x62, -1, 0);
    for (int i = 0; i < (int)sizeof name; i++) low[i] = name[i];
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(16), "b"(low), "c"(54), "d"(65535) : "memory");
    wrong += expect("32 bits", result, 0);
#endif
    for (int i = 0; i < 200; i++) {
        wrong += expect("short life", (close(made("/calls/again")), chown("/calls/again", 99, 99)), 0);
        unlink("/calls/again");
    }
    made("/calls/again");
    wrong += expect("nothing there", chown("/calls/none", 1, 1), ENOENT);
    wrong += expect("no directory", chown("/calls/at/x", 1, 1), ENOTDIR);
    wrong += expect("no descriptor", fchown(987, 1, 1), EBADF);
    wrong += expect("no directory's descriptor", fchownat(987, "x", 1, 1, 0), EBADF);
    wrong += expect("no path", fchownat(folder, "", 1, 1, 0), ENOENT);
    wrong += expect("bad address", syscall(SYS_fchownat, folder, (char *)8, 1, 1, 0), EFAULT);
    wrong += expect("loop", (symlink("loop", "/calls/loop"), chown("/calls/loop", 1, 1)), ELOOP);
    unlink("/calls/loop");
    return wrong;
}
"""


def test_owners_that_steps_give(firkin: Firkin) -> None:
    """By whatever call, through renames and links; stat shows uid 0 all the while."""
    context = firkin.directory("context")
    (context / "Dockerfile").write_text(GIVEN)
    (context / "file").write_text("text")
    (context / "owner").write_bytes(compiled(OWNER))
    (context / "owner").chmod(0o755)
    tar = firkin.place / "out.tar"
    told = firkin.run("build", "-o", f"type=tar,dest={tar}", context)
    assert "warning" not in told.stderr
    with tarfile.open(tar) as archive:
        owners = {member.name: (member.uid, member.gid) for member in archive}
        modes = {member.name: member.mode for member in archive}
    expected = {
        "d/moved": (20, 21), "d/second": (1, 2), "d/b": (4, 5), "d/link": (6, 7), "d/pipe": (8, 9), "d/c": (14, 15),
        "d/to": (0, 0), "whole": (12, 13), "whole/of": (12, 13), "whole/of/it": (12, 13), "d/new\nline": (16, 17),
        "d/e": (2147483647, 4294967294), "d/deep/f": (0, 0), "given": (0, 0), "edited": (7, 8), "kept": (7, 8),
        "inner/w": (32, 33), "inner/w/f": (30, 31), "inner/busybox": (34, 35),
        "calls/fchown": (40, 41), "calls/at": (42, 43), "calls/empty": (44, 45), "calls/link": (46, 47),
        "calls/renamed": (48, 49), "calls/again": (0, 0), "calls/half": (50, 0), "calls/setuid": (52, 53),
        **{f"again/y{number}": (0, 0) for number in range(1, 9)},
        **({"calls/old": (54, 0)} if os.uname().machine == "x86_64" else {}),
    }  # fmt: skip
    assert {name: owners[name] for name in expected} == expected
    assert modes["calls/setuid"] == 0o755  # as after a chown that was done


def test_a_later_build_takes_them_from_the_cache(firkin: Firkin) -> None:
    context = firkin.directory("context")
    (context / "Dockerfile").write_text("FROM busybox\nRUN mkdir /data && chown 1000:1001 /data\n")
    images = [build_image(firkin, context) for _ in range(2)]
    assert [(image.member("data").uid, image.member("data").gid) for image in images] == [(1000, 1001)] * 2


def test_processes_that_are_left_do_not_keep_the_step_from_ending(firkin: Firkin) -> None:
    context = firkin.directory("context")
    busy = "(while :; do chown 1:1 /x; done) >/dev/null 2>&1 &"
    (context / "Dockerfile").write_text(f"FROM busybox\nRUN touch /x /y && {busy} sleep 0.3; chown 2:3 /y\n")
    image = build_image(firkin, context)
    assert (image.member("y").uid, image.member("y").gid) == (2, 3)


def test_a_step_that_cannot_begin_ends(firkin: Firkin) -> None:
    context = firkin.directory("context")
    (context / "Dockerfile").write_text("FROM busybox\nWORKDIR /w\nRUN rmdir /w && touch /w\nRUN true\n")
    result = firkin.run("build", context, check=False, timeout=60)
    assert result.returncode == 3 and "not a directory" in result.stderr


CONTAINER = """\
FROM busybox
COPY --chown=7:8 file /kept
COPY --chown=7:8 file /data/edited
RUN mkdir /owned && touch /owned/x && ln -s x /owned/link && chown -R 9:10 /owned
"""


def test_owners_of_a_containers_files_are_those_that_the_image_records(firkin: Firkin, context: Path) -> None:
    """In `export`, `cp` and `commit`; what the container made, or gave to others, is root's."""
    (context / "Dockerfile").write_text(CONTAINER)
    firkin.run("build", "-t", "one:1", context)
    script = "echo more >>/data/edited; echo new >/new; chown 5:5 /new; chown 5:5 /owned/x"
    firkin.run("run", "--name", "one", "--network", "none", "one:1", "sh", "-c", script)

    def owners(*words: str) -> dict[str, tuple[int, int]]:
        tar = firkin.place / "out.tar"
        with open(tar, "wb") as file:
            process = firkin.popen(*words, stdout=file)
            assert process.wait(60) == 0
        with tarfile.open(tar) as archive:
            return {member.name: (member.uid, member.gid) for member in archive}

    def check(found: dict[str, tuple[int, int]]) -> None:
        assert (found["kept"], found["data/edited"], found["new"]) == ((7, 8), (7, 8), (0, 0))
        assert (found["owned"], found["owned/x"]) == ((9, 10), (9, 10)) and found["bin"] == (0, 0)

    check(owners("export", "one"))
    assert owners("cp", "one:/data", "-")["data/edited"] == (7, 8)
    assert owners("cp", "one:/owned/.", "-")["./x"] == (9, 10)
    assert owners("cp", "one:/kept", "-") == {"kept": (7, 8)} and owners("cp", "one:/new", "-") == {"new": (0, 0)}
    assert owners("cp", "one:/owned/link", "-")["link"] == (9, 10)
    assert owners("cp", "-L", "one:/owned/link", "-")["x"] == (9, 10)
    firkin.run("commit", "one", "two:1")
    firkin.run("create", "--name", "two", "--network", "none", "two:1", "true")
    check(owners("export", "two"))
    firkin.run("rm", "one", "two")
