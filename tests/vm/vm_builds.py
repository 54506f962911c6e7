"""The build suite's smoke part: a kernel that is older, cgroup v2 alone, AppArmor, and both usual file systems."""

import pytest

from vm.machine import Machine

# A base of one file, and a build with each kind of step: RUN in a sandbox, COPY, a stage that takes from another.
BUILD = r"""
set -e
cd "$(mktemp -d)"
mkdir base && cp /bin/busybox base/ && printf 'text\n' >file
cat >Dockerfile <<'EOF'
FROM scratch AS base
COPY base/busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
FROM base AS made
RUN id -u >/uid && mkdir -p /out && echo made >/out/made && chown 7:8 /out/made && chmod 4755 /out/made
RUN test "$(cat /proc/1/comm)" != systemd && ! ls /proc/1/root/etc/shadow
FROM base
COPY file /srv/file
COPY --from=made /out /srv/out
RUN test "$(stat -c %u:%g:%a /srv/out/made)" = 7:8:4755
CMD ["/bin/cat", "/srv/file"]
EOF
firkin build -q -t smoke . >id
firkin build -q -t smoke . >again
cmp id again
firkin build -o type=tar,dest=out.tar . 2>/dev/null
tar -tvf out.tar | grep srv/out/made
firkin images --format '{{.Repository}}:{{.Tag}}'
"""


def test_the_machine_is_what_the_others_are_not(vm: Machine) -> None:
    assert vm.check("stat -f -c %T /sys/fs/cgroup") == "cgroup2fs"
    assert vm.check("cat /sys/module/apparmor/parameters/enabled") == "Y"
    assert vm.check("uname -r").startswith("6.1.")
    assert vm.check("systemctl is-system-running --wait") == "running"


@pytest.mark.parametrize("file_system", ["ext4", "xfs"])
def test_builds(vm: Machine, user: str, file_system: str) -> None:
    vm.check(f"umount -q /data || true; mkfs.{file_system} -q -{'F' if file_system == 'ext4' else 'f'} /dev/vdc")
    vm.check("mount /dev/vdc /data && chmod 1777 /data")
    output = vm.check(f"export FIRKIN_ROOT=/data/{user}-store; {BUILD}", user=user)
    vm.check("umount /data")
    assert "-rwsr-xr-x 7/8" in output
    assert output.endswith("smoke:latest")
