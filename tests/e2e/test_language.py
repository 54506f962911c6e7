"""The meaning of Dockerfiles, beyond the conformance corpus: each rule has a case there or a test here.

The rules, where BuildKit is the model, and what holds firkin to them. Names with dashes are cases of
tests/conformance/cases, names of functions are tests of this file unless another is named.

COPY and ADD
 1  belongs to 0:0 whatever USER says             copy-default-owner
 2  --from keeps owners                           copy-from-owner-and-mode
 3  existing directories keep owner and mode      copy-keeps-destination-directory, test_directory_onto_directory
 4  --chmod and implied parents                   copy-created-directories-chmod
 5  --chown and implied parents                   copy-chown-directory
 6  a directory of mode 0400                      test_directory_that_its_owner_cannot_enter
 7  symbolic modes, range of octal ones           copy-chmod-*, unit/builder/copy/test_chmod.py
 8  special bits and capabilities survive         test_special_bits_and_capabilities_survive
 9  hard links inside one COPY                    copy-from-links
10  links named as source, and inside             copy-symlink-source, copy-symlinks-inside, copy-symlink-parents
11  links as destination                          copy-dest-symlink-*, copy-link-symlink-destination
12  links and directories replace each other      fs-directory-to-symlink, fs-swap, fs-opaque-*
13  directory onto file and the reverse           copy-directory-over-file, copy-file-over-directory
14  wildcards without a match                     copy-wildcard-no-match
15  several sources to a file                     copy-several-to-file, test_traps_are_told
16  an empty destination                          test_empty_destination_is_the_working_directory
17  ../ and / in sources                          copy-source-above-context
18  relative sources in a stage                   copy-from-relative
19  stages by number and in any case of letters   test_stages_by_number_and_name
20  later stages                                  stage-copy-from-later
21  the root of a stage                           copy-from-root
22  sockets, escaped wildcards, `**`              test_socket_becomes_an_empty_file, test_escaped_wildcard
23  times                                         mtime-copy, mtime-copy-symlink, test_touched_files_are_no_change
24  .dockerignore, --exclude                      ignore-*, copy-exclude-*
25  archives are known by content                 add-tar-any-name, add-gz-no-tar, add-tar-zst
26  the archive's own `.`                         test_an_archives_root_leaves_the_destination_alone
27  --chown of an archive                         test_chown_of_an_archive
28  ADD of an URL                                 test_add_url, test_add_url_that_is_gone
29  --checksum                                    add-checksum-local, test_add_checksum
30  ADD of a git repository                       test_add_git
31  heredocs of COPY                              heredoc-copy-*
RUN
32  heredocs of RUN                               heredoc-run-*
33  environment                                   run-environment, env-run-assignment
34  users and groups                              user-*
35  cache mounts                                  mount-cache-*, test_cache_namespace, test_sharing_modes
36  bind mounts                                   mount-bind-*, ignore-bind-mount
37  secrets                                       mount-secret-*, test_secrets_leave_no_trace
38  tmpfs, relative targets, `/`                  mount-tmpfs*, test_size_of_a_tmpfs, test_mount_over_the_root
39  surroundings are not committed                run-etc-files-*, run-proc-sys-not-leaking
40  background processes                          test_background_processes_end, test_sandbox.py
41  a RUN without changes is a layer              run-no-change, test_equal_layers
42  directories deleted and made again            fs-opaque-*, fs-delete-*, fs-names-like-whiteouts
43  /var/run, VOLUME paths                        fs-volume-data, test_paths_that_others_drop
Metadata
44  WORKDIR                                       workdir-*
45  VOLUME                                        volume-*
46  ENTRYPOINT, CMD, SHELL                        entrypoint-*, cmd-*, shell-*
47  HEALTHCHECK                                   healthcheck-*
48  ENV                                           env-*, unit/builder/dockerfile/test_lower.py
49  ARG and ENV of one name                       arg-after-env*
50  scopes of ARG, platform arguments             arg-global-*, arg-stage-scope, arg-platform-*
51  --build-arg without a value                   test_build_argument_from_the_environment
52  proxies                                       arg-proxy-*, test_proxies_are_no_part_of_the_key
53  old forms, comments, BOM                      env-old-form, label-old-form, parse-*
54  EXPOSE                                        expose-*
55  ONBUILD                                       onbuild-*, heredoc-onbuild
56  labels and annotations of the base            label-*, test_annotations_are_not_inherited
57  PATH, scratch                                 from-scratch-*, run-scratch-*
58  FROM a digest, tag and digest                 test_from_a_digest
59  platforms                                     platform-*, from-platform-variant
60  equal layers                                  test_equal_layers
61  unused stages                                 from-unused-stage, stage-fails-only-if-used
62  names, targets, MAINTAINER                    from-stage-name-*, from-target-*, maintainer*
63  what a cache key holds                        test_cache_key, test_touched_files_are_no_change
64  epochs leave the base alone                   created-epoch, test_reproducible.py
65  archives that leave their place               add-tar-outside, add-tar-through-link*
66  paths of builders                             test_paths_of_builders
"""

import io
import os
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from support.accounts import Firkin
from support.git_commits import COMMIT_TIME
from support.image import BuiltImage, build_image, read_layout
from support.registry import Registry
from support.web import FileServer, GitServer, serving_files, serving_git

pytestmark = [pytest.mark.registry, pytest.mark.xdist_group("language")]

Build = Callable[..., BuiltImage]


@pytest.fixture
def context(scratch: Path) -> Path:
    place = scratch / "context"
    place.mkdir()
    return place


@pytest.fixture
def build(shared_firkin: Firkin, context: Path) -> Build:
    """Build a Dockerfile in `context`."""

    def builder(text: str, *options: Any, **more: Any) -> BuiltImage:
        (context / "Dockerfile").write_text(text)
        shared_firkin.account.give(context)
        return build_image(shared_firkin, "--progress=plain", *options, context, **more)

    return builder


@pytest.fixture
def fails(shared_firkin: Firkin, context: Path) -> Callable[..., str]:
    """Build a Dockerfile that cannot be built, and return what firkin says."""

    def builder(text: str, *options: str) -> str:
        (context / "Dockerfile").write_text(text)
        result = shared_firkin.run("build", "--progress=plain", *options, context, check=False)
        assert result.returncode not in (0, 70), result.stderr
        return result.stderr

    return builder


@pytest.fixture(scope="module")
def web() -> Iterator[FileServer]:
    with serving_files() as server:
        yield server


@pytest.fixture(scope="module")
def git() -> Iterator[GitServer]:
    with serving_git() as server:
        yield server


def modes(image: BuiltImage) -> dict[str, tuple[str, int, int]]:
    """Return mode and owner of everything in the topmost layer."""
    members = image.layers[-1].members
    return {name: (f"{member.mode:04o}", member.uid, member.gid) for name, member in members.items()}


# --- right where BuildKit is not -------------------------------------------------------------------------------------


def test_replaced_context_file_of_equal_size_and_time_is_noticed(build: Build, context: Path) -> None:
    text = "FROM busybox\nCOPY f /f\n"
    (context / "f").write_text("one")
    os.utime(context / "f", (1_600_000_000, 1_600_000_000))
    assert build(text).text("f") == "one"
    (context / "new").write_text("two")
    os.utime(context / "new", (1_600_000_000, 1_600_000_000))
    (context / "new").rename(context / "f")
    assert build(text).text("f") == "two"


def test_files_swapped_inside_run(build: Build) -> None:
    image = build(
        "FROM busybox\n"
        "RUN printf aa > /a && printf bb > /b && touch -d @1000000000 /a /b\n"
        "RUN mv /a /c && mv /b /a && mv /c /b\n"
    )
    assert image.layers[-1].contents == {"a": b"bb", "b": b"aa"}


def test_chmod_of_the_root(build: Build) -> None:
    image = build("FROM busybox\nRUN chmod 0711 /\nRUN stat -c %a / > /mode\nFROM busybox\n"
                  "RUN chmod 0711 / && touch /x\n")  # fmt: skip
    root = next(member for name, member in image.layers[-1].members.items() if name in (".", "./", ""))
    assert root.mode == 0o711


def test_times_of_copied_directories(build: Build, context: Path) -> None:
    (context / "d/sub").mkdir(parents=True)
    (context / "d/sub/f").write_text("")
    for name, seconds in (("d/sub/f", 1), ("d/sub", 1_100_000_000), ("d", 1_200_000_000)):
        os.utime(context / name, (seconds, seconds))
    image = build("FROM scratch\nCOPY d /d\n")
    assert (image.member("d").mtime, image.member("d/sub").mtime) == (1_200_000_000, 1_100_000_000)


def test_hard_link_to_a_file_of_an_earlier_layer(build: Build) -> None:
    image = build("FROM busybox\nRUN echo x > /a && touch -d @5 /a\nRUN ln /a /b\nRUN stat -c %h /a > /count\n")
    link = image.layers[-2]
    assert {"a", "b"} <= set(link.members)
    first, second = sorted((link.members["a"], link.members["b"]), key=lambda member: member.islnk())
    assert second.islnk()
    assert second.linkname == first.name
    assert image.text("count") == "2\n"


# --- COPY and ADD ----------------------------------------------------------------------------------------------------


def test_directory_onto_directory(build: Build, context: Path) -> None:
    (context / "d/kept").mkdir(parents=True)
    (context / "d/new").write_text("new")
    (context / "d/kept/f").write_text("f")
    (context / "d").chmod(0o755)
    (context / "d/kept").chmod(0o750)
    image = build(
        "FROM busybox\nRUN mkdir -p /dest/kept && chmod 1777 /dest && chown 3:4 /dest && echo old > /dest/old\n"
        "COPY d /dest\n"
    )
    found = modes(image)
    assert found["dest"] == ("1777", 3, 4)
    assert found["dest/kept"] == ("0750", 0, 0)
    assert "dest/old" not in found


def test_directory_that_its_owner_cannot_enter(build: Build, context: Path) -> None:
    (context / "x/d").mkdir(parents=True)
    (context / "x/d/f").write_text("f")
    image = build("FROM busybox\nCOPY --chmod=400 x /x\nUSER 7\nCOPY x/d/f /x/d/g\nCOPY --chmod=500 x /x\n")
    assert image.layers[-3].members["x/d"].mode == 0o400
    assert image.member("x/d/g").mode == 0o644
    assert image.member("x/d").mode == 0o500


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sets capabilities of files")
def test_special_bits_and_capabilities_survive(shared_firkin: Firkin, context: Path) -> None:
    (context / "tool").write_text("x")
    (context / "Dockerfile").write_text(
        "FROM busybox AS a\nCOPY tool /t/tool\n"
        "RUN touch /t/s && chown 5:6 /t/s && chmod 6755 /t/s && mkdir -m 1777 /t/d\n"
        "FROM busybox\nCOPY --from=a /t /t\n"
    )
    shared_firkin.account.give(context)
    # Changing the owner takes capabilities away, so they come last.
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(context / "tool", "security.capability", capability)
    image = build_image(shared_firkin, context)
    header = image.member("t/tool").pax_headers["SCHILY.xattr.security.capability"]
    assert header.encode("utf-8", "surrogateescape") == capability
    assert image.member("t/s").mode == 0o6755
    assert (image.member("t/s").uid, image.member("t/s").gid) == (5, 6)
    assert image.member("t/d").mode == 0o1777


def test_traps_are_told(build: Build, context: Path) -> None:
    for name in ("a", "b"):
        (context / name).write_text(name)
    assert "copy-several-to-file" in build("FROM busybox\nCOPY a b /file\n").log
    assert "copy-nothing-matched" in build("FROM busybox\nCOPY a nothing* /d/\n").log
    assert "nobody-knows" in build("FROM busybox\nCOPY --chown=nobody-knows a /a\n").log


def test_empty_destination_is_the_working_directory(build: Build, context: Path) -> None:
    (context / "f").write_text("f")
    image = build("FROM busybox\nWORKDIR /here\nARG EMPTY\nCOPY f $EMPTY\n")
    assert "here/f" in image.layers[-1].members


def test_stages_by_number_and_name(build: Build) -> None:
    image = build(
        "FROM busybox AS unused\nRUN false\nFROM busybox AS Files\nRUN echo x > /x\n"
        "FROM busybox\nCOPY --from=1 /x /one\nCOPY --from=fILES /x /two\n"
    )
    assert image.text("one") == image.text("two") == "x\n"


def test_socket_becomes_an_empty_file(build: Build, context: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(context)
        listener.bind("s")
        os.chdir("/")
        image = build("FROM busybox\nCOPY s /s\n")
    assert image.layers[-1].members["s"].isreg()
    assert image.layers[-1].contents["s"] == b""


def test_escaped_wildcard(build: Build, context: Path) -> None:
    for name in ("a[1].txt", "a1.txt"):
        (context / name).write_text(name)
    image = build("FROM busybox\nCOPY a[[]1].txt /d/\n")
    assert list(image.layers[-1].contents) == ["d/a[1].txt"]


def test_touched_files_are_no_change(build: Build, context: Path) -> None:
    (context / "f").write_text("f")
    build("FROM busybox\nCOPY f /touched\nRUN echo after\n")
    os.utime(context / "f")
    assert "CACHED" in build("FROM busybox\nCOPY f /touched\nRUN echo after\n").log


def pack(place: Path, *members: tuple[str, int, int, bytes]) -> None:
    """Write a tar of directories (no content) and files: name, mode, owner, content."""
    import io

    with tarfile.open(place, "w") as archive:
        for name, mode, owner, content in members:
            info = tarfile.TarInfo(name)
            info.mode, info.uid, info.gid, info.mtime = mode, owner, owner, 1_000_000_000
            info.type = tarfile.REGTYPE if content else tarfile.DIRTYPE
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_an_archives_root_leaves_the_destination_alone(build: Build, context: Path) -> None:
    pack(context / "a.tar", (".", 0o700, 9, b""), ("./f", 0o640, 8, b"f"))
    image = build("FROM busybox\nRUN mkdir -m 1777 /d && chown 3:4 /d\nADD a.tar /d\n")
    assert modes(image) == {"d": ("1777", 3, 4), "d/f": ("0640", 8, 8)}


def test_chown_of_an_archive(build: Build, context: Path) -> None:
    pack(context / "a.tar", ("sub", 0o700, 9, b""), ("sub/f", 0o640, 8, b"f"))
    image = build("FROM busybox\nADD --chown=5:6 a.tar /d/\n")
    assert {(uid, gid) for _, uid, gid in modes(image).values()} == {(5, 6)}


def test_add_url(build: Build, web: FileServer) -> None:
    url = web.put("/dir/file.txt", b"hello", Last_Modified="Sun, 09 Sep 2001 01:46:40 GMT")
    plain = web.put("/plain", b"plain")
    archive = web.put("/a.tar", b"no archive here")
    image = build(f"FROM busybox\nADD {url}?token=1 {plain} {archive} /d/\nADD --chmod=755 --chown=1:2 {url} /x\n")
    file = image.member("d/file.txt")
    assert (file.mode, file.mtime, file.uid) == (0o600, 1_000_000_000, 0)
    assert image.member("d/plain").mtime == 0
    assert image.text("d/a.tar") == "no archive here"
    assert (image.member("x").mode, image.member("x").uid, image.member("x").gid) == (0o755, 1, 2)


def test_add_url_again_when_it_has_changed(build: Build, web: FileServer) -> None:
    text = f"FROM busybox\nADD {web.put('/changing', b'one')} /x\n"
    assert build(text).text("x") == "one"
    assert "CACHED" in build(text).log
    web.put("/changing", b"two")
    assert build(text).text("x") == "two"


def test_add_url_that_is_gone(fails: Callable[..., str], web: FileServer) -> None:
    for _ in range(2):  # a failure is not remembered as a result
        assert "404" in fails(f"FROM busybox\nADD {web.url}/gone /x\n")


def test_add_checksum(build: Build, fails: Callable[..., str], web: FileServer) -> None:
    import hashlib

    url = web.put("/checked", b"checked")
    right = hashlib.sha256(b"checked").hexdigest()
    assert build(f"FROM busybox\nADD --checksum=sha256:{right} {url} /x\n").text("x") == "checked"
    said = fails(f"FROM busybox\nADD --checksum=sha256:{'0' * 64} {url} /x\n")
    assert right in said
    assert "Dockerfile:2" in said


def test_add_git(build: Build, fails: Callable[..., str], git: GitServer) -> None:
    first = git.commit("app.git", {"README": (0o100644, b"one"), "sub/tool": (0o100755, b"#!/bin/sh\n")})
    git.commit("app.git", {"README": (0o100644, b"two")}, "refs/heads/other")
    url = f"{git.url}/app.git"
    image = build(f"FROM busybox\nADD {url} /app\n")
    assert image.text("app/README") == "one"
    assert (image.member("app/README").mode, image.member("app/sub/tool").mode) == (0o644, 0o755)
    assert image.member("app/README").mtime == COMMIT_TIME
    assert not [name for name in image.names() if ".git" in name]
    assert build(f"FROM busybox\nADD {url}#other /app\n").text("app/README") == "two"
    assert set(build(f"FROM busybox\nADD {url}#main:sub /app\n").layers[-1].contents) == {"app/tool"}
    assert "app/.git/HEAD" in build(f"FROM busybox\nADD --keep-git-dir=true {url} /app\n").names()
    assert build(f"FROM busybox\nADD --checksum={first[:12]} {url} /app\n").text("app/README") == "one"
    assert first in fails(f"FROM busybox\nADD --checksum={'0' * 40} {url} /app\n")


def test_git_context(shared_firkin: Firkin, git: GitServer) -> None:
    git.commit("context.git", {"at/Dockerfile": (0o100644, b"FROM scratch\nCOPY . /\n"), "at/x": (0o100644, b"x")})
    image = build_image(shared_firkin, f"{git.url}/context.git#main:at")
    assert image.text("x") == "x"


def tarred(files: Mapping[str, bytes], mtime: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), mtime
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def test_epoch_of_what_is_named(
    shared_firkin: Firkin, build: Build, fails: Callable[..., str], context: Path, git: GitServer, web: FileServer
) -> None:
    """SOURCE_DATE_EPOCH as a name is the time of a commit or download; a directory has none."""
    text = "ARG SOURCE_DATE_EPOCH\nFROM busybox\nARG SOURCE_DATE_EPOCH=unset\nRUN echo $SOURCE_DATE_EPOCH > /e\n"
    argument = ("--build-arg", "SOURCE_DATE_EPOCH=context")

    def time_of(image: BuiltImage) -> int:
        created = image.config["created"].replace("Z", "+00:00")
        return int(datetime.fromisoformat(created).timestamp()) if image.text("e") != "unset\n" else 0

    git.commit("dated.git", {"Dockerfile": (0o100644, text.encode()), "x": (0o100644, b"x")})
    assert time_of(build_image(shared_firkin, *argument, f"{git.url}/dated.git")) == COMMIT_TIME
    environ = {"SOURCE_DATE_EPOCH": "context"}
    assert time_of(build_image(shared_firkin, f"{git.url}/dated.git", env=environ)) == COMMIT_TIME
    assert time_of(build(text, *argument)) == 0
    named = f"code={git.url}/dated.git"
    assert time_of(build(text, "--build-context", named, "--build-arg", "SOURCE_DATE_EPOCH=code")) == COMMIT_TIME

    archive = tarred({"Dockerfile": text.encode()}, mtime=1_500_000_000)
    assert time_of(build_image(shared_firkin, *argument, web.put("/plain.tar", archive))) == 1_500_000_000
    dated = web.put("/dated.tar", archive, Last_Modified="Fri, 14 Jul 2017 02:40:01 GMT")
    assert time_of(build_image(shared_firkin, *argument, dated)) == 1_500_000_001

    def stage(add: str) -> str:
        return text.replace("EPOCH\nFROM", f"EPOCH=src\nFROM scratch AS src\nADD {add} /\nFROM", 1)

    assert time_of(build(stage(f"{git.url}/dated.git"))) == COMMIT_TIME
    assert time_of(build(stage(f"{web.url}/dated.tar"))) == 1_500_000_001
    assert time_of(build(stage(f"{web.url}/plain.tar"))) == 1_500_000_000
    web.put("/text", b"no archive")
    assert time_of(build(stage(f"{web.url}/text"))) == 0
    assert "must be a single HTTP(S) or Git ADD" in fails(stage("x"))
    assert "invalid SOURCE_DATE_EPOCH: nosuch" in fails(text, "--build-arg", "SOURCE_DATE_EPOCH=nosuch")


def test_outputs_with_an_epoch_of_their_own(shared_firkin: Firkin, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN touch /x\nCOPY Dockerfile /\n")
    own, plain = shared_firkin.directory("own-epoch"), shared_firkin.directory("plain-epoch")
    for place, field, options in (
        (own, ",source-date-epoch=1500000000", ("--rewrite-timestamp", "--source-date-epoch", "1600000000")),
        (plain, "", ()),
    ):
        shared_firkin.run("build", *options, "-o", f"type=oci,tar=false,dest={place}{field}", context)
    image = read_layout(own)
    assert image.config["created"] == "2017-07-14T02:40:00Z"
    assert [member.mtime for layer in image.layers[1:] for member in layer.members.values()] == [1_500_000_000] * 2
    said = [layer.get("annotations") for layer in image.manifest["layers"]]
    assert said == [None] + [{"buildkit/rewritten-timestamp": "1500000000"}] * 2
    assert not any("annotations" in layer for layer in read_layout(plain).manifest["layers"])


# --- RUN -------------------------------------------------------------------------------------------------------------


def test_cache_namespace(build: Build) -> None:
    identity = f"ns-{time.monotonic_ns()}"
    text = f"FROM busybox\nARG N\nRUN --mount=type=cache,target=/c,id={identity} echo x >> /c/f; cat /c/f > /seen\n"

    def seen(namespace: str) -> int:
        arguments = (f"BUILDKIT_CACHE_MOUNT_NS={namespace}", f"N={time.monotonic_ns()}")
        image = build(text, *(word for argument in arguments for word in ("--build-arg", argument)))
        return len(image.text("seen").splitlines())

    assert [seen("one"), seen("one"), seen("two")] == [1, 2, 1]


def test_cache_mounts_begin_empty_without_the_cache(build: Build) -> None:
    """--no-cache empties the mounts of what it executes, once in a build; what they hold then is kept."""
    word = time.monotonic_ns()
    mounts = (f"id=plain-{word}", f"id=owned-{word},uid=7,mode=0700", f"id=seed-{word},from=seed,source=/s",
              f"id=own-{word},sharing=private", f"id=one-{word},sharing=locked")  # fmt: skip
    flags = " ".join(f"--mount=type=cache,target=/c{number},{mount}" for number, mount in enumerate(mounts))
    text = (
        "FROM busybox AS seed\nRUN mkdir /s && touch /s/0\n"
        "FROM busybox AS first\nARG N\n"
        f"RUN {flags} for i in 0 1 2 3 4; do touch /c$i/$N; done\n"
        "FROM first AS last\n"  # the mounts are not emptied again, nor where only the cache of a stage is off
        f"RUN {flags} for i in 0 1 2 3 4; do touch /c$i/x$N; echo $(ls /c$i) >> /seen; done\n"
    )

    def seen(name: int, *options: str) -> list[str]:
        return build(text, *options, "--build-arg", f"N={name}").text("seen").splitlines()

    def expected(*names: str) -> list[str]:
        return [" ".join(sorted([*names, *(["0"] if number == 2 else [])])) for number in range(5)]

    assert seen(1) == expected("1", "x1")
    assert seen(2) == expected("1", "2", "x1", "x2")
    assert seen(3, "--no-cache") == expected("3", "x3")
    assert seen(4) == expected("3", "4", "x3", "x4")
    assert seen(5, "--no-cache-filter", "first") == expected("5", "x5")
    assert seen(6, "--no-cache-filter", "last") == expected("x6")
    after = expected("7", "x6", "x7")
    after[2] = "0 7 x7"  # what it is made from was made again
    assert seen(7, "--no-cache-filter", "seed") == after


def test_cache_mount_that_another_build_uses_is_left_to_it(shared_firkin: Firkin, scratch: Path) -> None:
    flag = f"--mount=type=cache,target=/c,id=used-{time.monotonic_ns()}"
    wait = "touch /c/mine; for i in $(seq 100); do [ -e /c/go ] && break; sleep 0.05; done; ls /c > /there"
    for name, script in (("long", wait), ("short", "ls /c > /there; touch /c/new")):
        (scratch / name).mkdir()
        (scratch / name / "Dockerfile").write_text(f"FROM busybox\nARG N\nRUN {flag} {script}\n")
    images: list[BuiltImage] = []
    long = threading.Thread(target=lambda: images.append(build_image(shared_firkin, scratch / "long")))
    long.start()
    time.sleep(1)
    assert build_image(shared_firkin, "--no-cache", scratch / "short").text("there") == ""
    assert long.is_alive()  # so it was not waited for
    long.join()
    assert images[0].text("there") == "mine\n"
    assert build_image(shared_firkin, "--build-arg=N=2", scratch / "short").text("there") == "new\n"


@pytest.mark.parametrize(("sharing", "waits", "separate"), [
    ("shared", False, False), ("locked", True, False), ("private", False, True),
])  # fmt: skip
def test_sharing_modes(
    shared_firkin: Firkin, scratch: Path, sharing: str, waits: bool, separate: bool
) -> None:
    identity = f"sharing-{time.monotonic_ns()}"
    script = "ls /c > /there; touch /c/$NAME; cat /proc/uptime > /began; sleep 1.5; cat /proc/uptime > /ended"
    images: dict[str, BuiltImage] = {}

    def one(name: str, delay_s: float) -> None:
        place = scratch / name
        place.mkdir()
        (place / "Dockerfile").write_text(
            f"FROM busybox\nARG NAME\nRUN --mount=type=cache,target=/c,id={identity},sharing={sharing} {script}\n"
        )
        time.sleep(delay_s)
        images[name] = build_image(shared_firkin, "--build-arg", f"NAME={name}-{identity}", place)

    threads = [threading.Thread(target=one, args=("first", 0)), threading.Thread(target=one, args=("second", 0.7))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = {
        name: tuple(float(image.text(when).split()[0]) for when in ("began", "ended")) for name, image in images.items()
    }
    overlap = times["second"][0] < times["first"][1] and times["first"][0] < times["second"][1]
    assert overlap is not waits
    later = max(times, key=lambda name: times[name][0])
    assert bool(images[later].text("there").strip()) is not separate


def test_stages_run_side_by_side(shared_firkin: Firkin, context: Path) -> None:
    """Three stages on one base meet in a cache mount, which they can only while all of them run."""
    wait = "for i in $(seq 200); do [ $(ls /meet | wc -l) -ge 3 ] && exit 0; sleep 0.1; done; exit 1"
    run = f"RUN --mount=type=cache,target=/meet,id=meet-{time.monotonic_ns()} touch /meet/$TARGETSTAGE; {wait}\n"
    stages = "".join(f"FROM busybox AS {name}\nARG TARGETSTAGE={name}\n{run}" for name in ("one", "two", "three"))
    copies = "".join(f"COPY --from={name} /etc/passwd /{name}\n" for name in ("one", "two", "three"))
    (context / "Dockerfile").write_text(f"{stages}FROM scratch\n{copies}")
    build_image(shared_firkin, "--parallel", "3", context)


def test_secrets_leave_no_trace(firkin: Firkin, context: Path) -> None:
    value = f"very-secret-{time.monotonic_ns()}"
    (context / "Dockerfile").write_text(
        "FROM busybox\n"
        "RUN --mount=type=secret,id=token test -s /run/secrets/token && cat /run/secrets/token | md5sum > /sum\n"
        "RUN --mount=type=secret,id=token,env=TOKEN test -n \"$TOKEN\" && tr '\\0' '\\n' < /proc/1/cmdline\n"
        "RUN ! test -e /run/secrets/token && env\n"
    )
    image = build_image(firkin, "--progress=json", "--secret", "id=token,env=TOKEN", context, env={"TOKEN": value})
    assert value not in image.log
    assert value not in str(image.config)
    for layer in image.layers:
        assert not [name for name, data in layer.contents.items() if value.encode() in data]
        assert not [name for name in layer.members if name.startswith("run/secrets")]
    search = ["grep", "-rlaF", "--devices=skip", value, str(firkin.store)]
    stored = subprocess.run(search, capture_output=True, text=True)
    assert stored.stdout == ""
    again = build_image(firkin, "--progress=plain", "--secret", "id=token,env=TOKEN", context, env={"TOKEN": "other"})
    assert again.log.count("CACHED") == 4  # FROM is one of them


def test_size_of_a_tmpfs(build: Build) -> None:
    image = build("FROM busybox\nRUN --mount=type=tmpfs,target=/t,size=1m "
                  "! dd if=/dev/zero of=/t/f bs=64k count=32 && df -k /t | tail -n 1 > /df\n")  # fmt: skip
    assert image.text("df").split()[1] == "1024"


def test_mount_over_the_root(fails: Callable[..., str]) -> None:
    assert "invalid mount target" in fails("FROM busybox\nRUN --mount=type=tmpfs,target=/ true\n")


def test_background_processes_end(build: Build) -> None:
    began = time.monotonic()
    build(f"FROM busybox\nRUN echo {time.monotonic_ns()}; (sleep 1000 &) ; sleep 1000 & echo started\n")
    assert time.monotonic() - began < 60


def test_no_network(build: Build) -> None:
    image = build("FROM busybox\nRUN --network=none ls /sys/class/net > /net; ip link show up > /up || true\n")
    assert "eth" not in image.text("up")


def test_insecure(build: Build, fails: Callable[..., str]) -> None:
    ask = "grep CapEff /proc/self/status"
    text = f"FROM busybox\nRUN --security=insecure {ask} > /cap\nRUN {ask} > /less\n"
    said = fails(text)
    assert "--allow security.insecure" in said
    assert "Dockerfile:2" in said
    image = build(text, "--allow", "security.insecure")
    more, less = (int(image.text(name).split()[1], 16) for name in ("cap", "less"))
    assert more & less == less
    assert more != less


def test_paths_that_others_drop(build: Build) -> None:
    image = build(
        "FROM busybox\nVOLUME /data\n"
        "RUN mkdir -p /var/run/app /tmp/apt-key-gpghome /data && touch /var/run/app/x /tmp/apt-key-gpghome/x /data/x\n"
    )
    names = set(image.layers[-1].members)
    assert {"tmp/apt-key-gpghome/x", "data/x"} <= names
    assert {"var/run/app/x", "run/app/x"} & names


def test_equal_layers(build: Build) -> None:
    image = build("FROM busybox\nRUN true\nRUN true # again\nRUN true # and again\n", "--source-date-epoch", "1")
    assert len(image.layers) == len(image.config["rootfs"]["diff_ids"])
    assert len(set(image.config["rootfs"]["diff_ids"][-3:])) == 1
    assert len(image.manifest["layers"]) == len(image.layers)


# --- metadata and arguments ------------------------------------------------------------------------------------------


def test_build_argument_from_the_environment(build: Build) -> None:
    text = 'FROM busybox\nARG A=default\nARG B=default\nENV A="$A" B="$B"\n'
    env = build(text, "--build-arg", "A", "--build-arg", "B", env={"A": "given"}).runtime["Env"]
    assert "A=given" in env
    assert "B=default" in env


def test_proxies_are_no_part_of_the_key(build: Build) -> None:
    text = f"FROM busybox\nRUN echo {time.monotonic_ns()} $HTTP_PROXY > /seen\n"
    first = build(text, "--build-arg", "HTTP_PROXY=http://user:pass@one:1")
    assert first.text("seen").split()[1] == "http://user:pass@one:1"
    assert "pass@one" not in str(first.config)
    again = build(text, "--build-arg", "HTTP_PROXY=http://two:1")
    assert "CACHED" in again.log
    assert again.text("seen") == first.text("seen")


def test_unused_build_argument(build: Build) -> None:
    log = build("FROM busybox\nARG VERSION=1\n", "--build-arg", "VERSOIN=2").log
    assert "[VERSOIN] were not consumed" in log
    assert "did you mean VERSION" in log


def test_annotations_are_not_inherited(shared_firkin: Firkin, scratch: Path, registry: Registry) -> None:
    name = registry.reference(f"{shared_firkin.account.name}/annotated:1")
    for place, text in (("base", "FROM busybox\nLABEL kept=yes\n"), ("child", f"FROM {name}\nLABEL own=yes\n")):
        (scratch / place).mkdir()
        (scratch / place / "Dockerfile").write_text(text)
    pushed = ("-o", f"type=registry,name={name},annotation.d=e f,annotation.a.b=g")
    own = build_image(shared_firkin, "--annotation", "a.b=c", *pushed, scratch / "base")
    assert registry.manifest(name.partition("/")[2])["annotations"] == {"a.b": "g", "d": "e f"}
    assert own.manifest["annotations"] == {"a.b": "c"}  # what an output says is said of it alone
    image = build_image(shared_firkin, "--label", "given=yes", scratch / "child")
    assert "annotations" not in image.manifest
    assert image.runtime["Labels"] == {"kept": "yes", "own": "yes", "given": "yes"}


def test_from_a_digest(shared_firkin: Firkin, build: Build, registry: Registry) -> None:
    import hashlib

    raw = registry.get("library/busybox/manifests/1.35")
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    by_tag = build("FROM busybox:1.35\nLABEL x=1\n")
    assert build(f"FROM busybox@{digest}\nLABEL x=1\n").config == by_tag.config
    assert build(f"FROM busybox:no-such-tag@{digest}\nLABEL x=1\n").config == by_tag.config


def test_cache_key(build: Build, context: Path) -> None:
    unique = time.monotonic_ns()
    base = f"FROM busybox\nARG A=1\nENV E=1\nCOPY d /d\nRUN <<EOF\necho {unique}\nEOF\n"
    (context / "d").mkdir()
    (context / "d/f").write_text("f")

    def cached(text: str = base, *options: str) -> bool:
        log = build(text, *options).log
        runs = [line.split()[0] for line in log.splitlines() if "RUN" in line and line.startswith("#")]
        return all(f"{number} CACHED" in log for number in runs)

    assert not cached()
    assert cached()
    assert not cached(base, "--build-arg", "A=2")
    assert not cached(base.replace("ENV E=1", "ENV E=2"))
    assert not cached(base.replace(f"echo {unique}", f"echo {unique}0"))
    (context / "d/f").rename(context / "d/g")
    assert not cached()
    (context / "d/g").chmod(0o600)
    assert not cached()
    assert cached(base + "LABEL later=1\n")


READ = """
FROM busybox AS made
ARG MADE
RUN mkdir -p out/sub other && echo $MADE > other/x && cd out && {script}
RUN ln -s out link && ln -s sub/f out/last && ln -s /nowhere away
FROM busybox
{reads}
"""


@pytest.mark.parametrize("reads", [
    "RUN --mount=from=made,source=out,target=/m {random}",
    "RUN --mount=from=made,source=link/last,target=/m {random}",
    "RUN --mount=from=made,source=out,target=/m,rw touch /m/mine; {random}",
    "RUN --mount=type=cache,from=made,source=out,target=/m,id=read {random}",
    "COPY --from=made /out /m/\nRUN {random}",
    "COPY --from=made --chown=daemon /link/sub/f* /link/last /m/\nRUN {random}",
    "COPY --from=made --parents /out/./sub /m/\nRUN {random}",
    "WORKDIR /w\nCOPY --from=made /out .\nRUN {random}",
], ids=lambda text: " ".join(text.split("\n")[0].split()[:3]))  # fmt: skip
def test_what_is_read_of_a_stage_counts_by_its_content(build: Build, reads: str) -> None:
    """A stage that was made again, with the same content where it is read, disturbs nobody."""
    random = f"head -c 9 /dev/urandom | base64 > /u; echo {time.monotonic_ns()} >/dev/null"
    script = "echo {content} > sub/f && chmod {mode} sub/f && chown {owner} sub"
    usual = {"content": "a", "mode": "640", "owner": "0"}
    run = reads.format(random=random)

    def made(name: str, *options: str, more: str = "", **other: str) -> str:
        text = READ.format(script=script.format(**{**usual, **other}) + more, reads=run)
        return build(text, "--build-arg", f"MADE={name}", *options).text("u")

    first = made("one")
    assert made("two") == first
    changed = made("three", content="b")
    assert changed != first
    assert made("four", content="b") == changed
    assert made("five", content="b", mode="604") != changed
    if "source=out,target=/m {" in reads:  # all of `out` is shown
        owned = made("six", content="b", owner="7")
        assert owned not in (changed, made("seven", content="b", owner="7", more=" && echo x > more"))
        text = READ.format(script=script.format(content="b", mode="640", owner="7") + " && echo x > more", reads=run)
        assert build(text, "--build-arg", "MADE=eight").log.count("CACHED") >= 2
        assert made("eight", "--no-cache-filter=stage-1", content="b", owner="7") != owned


def test_what_is_read_of_a_stage_with_an_epoch(build: Build) -> None:
    """What comes after a layer that was found again is found, too, also where its time is told."""
    random = f"head -c 9 /dev/urandom | base64 > /u; echo {time.monotonic_ns()} >/dev/null"
    text = READ.format(script="echo a > sub/f", reads=f"COPY --from=made /out /m/\nRUN {random}")
    options = ("--build-arg", "SOURCE_DATE_EPOCH=1700000000", "--build-arg")
    first = build(text, *options, "MADE=one").text("u")
    assert build(text, *options, "MADE=two").text("u") == first


def test_paths_of_builders(build: Build) -> None:
    image = build("FROM busybox\nRUN mkdir /kaniko /busybox /firkin && touch /kaniko/x /busybox/x /firkin/x\n")
    assert {"kaniko/x", "busybox/x", "firkin/x"} <= set(image.layers[-1].members)


# --- errors suggest what was meant -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "options", "meant"), [
    ("FROM busybox\nCPOY a b\n", (), "did you mean COPY?"),
    ("FROM busybox\nCOPY --chwon=1 a b\n", (), "did you mean --chown?"),
    ("FROM busybox\nRUN --mount=type=cahce,target=/c true\n", (), "did you mean cache?"),
    ("FROM busybox\nRUN --mount=type=cache,targte=/c true\n", (), "did you mean target?"),
    ("FROM busybox AS builder\n", ("--target", "bulider"), "did you mean builder?"),
    ("FROM busybox AS builder\nFROM bulider\n", (), "did you mean `builder`?"),
    ("FROM busybox AS builder\nFROM busybox\nCOPY --from=bulider a b\n", (), "did you mean `builder`?"),
])  # fmt: skip
def test_suggestions(fails: Callable[..., str], text: str, options: tuple[str, ...], meant: str) -> None:
    assert meant in fails(text, *options)
