"""Options of `run`, `create`, `start`, `attach` and `exec`: one row each. Pure. Only `cli` may import it.

Mirrors: docker/cli cli/command/container (opts.go, run.go, create.go, start.go, attach.go, exec.go).
"""

from __future__ import annotations

from firkin.cli.options import COMMON as _COMMON
from firkin.cli.options import REGISTRY, Option


def _flag(flags: str, dest: str, help: str) -> Option:
    return Option(tuple(flags.split()), dest, "flag", help, takes_value=False)


def _text(flags: str, dest: str, metavar: str, help: str, environ: tuple[str, ...] = ()) -> Option:
    return Option(tuple(flags.split()), dest, "text", help, metavar, environ)


def _many(flags: str, dest: str, metavar: str, help: str) -> Option:
    return Option(tuple(flags.split()), dest, "many", help, metavar)


def _choice(flags: str, dest: str, choices: str, help: str, environ: tuple[str, ...] = ()) -> Option:
    return Option(tuple(flags.split()), dest, "choice", help, choices, environ, tuple(choices.split("|")))


def _refused(flags: str, hint: str, *, takes_value: bool = True) -> Option:
    return Option(tuple(flags.split()), "", "refused", hint, takes_value=takes_value)


def _ignored(flags: str, help: str, *, takes_value: bool = True) -> Option:
    return Option(tuple(flags.split()), "", "ignored", help, takes_value=takes_value)


# `-h` is the host name's short form here.
COMMON = tuple(row._replace(flags=("--help",)) if row.dest == "help" else row for row in _COMMON)
_WINDOWS = "of Windows"
_KEYS = _text("--detach-keys", "detach_keys", "KEYS",
              "what detaches from a terminal, e.g. `ctrl-a,d` (default: `ctrl-p,ctrl-q`)")
_PROXY = _flag("--sig-proxy", "sig_proxy", "pass signals on to the process (default: true)")

PROCESS = (
    _many("--env -e", "env", "NAME[=VALUE]", "set a variable; without VALUE, from the environment"),
    _many("--env-file", "env_file", "FILE", "set the variables of FILE, one NAME=VALUE a line"),
    _flag("--interactive -i", "interactive", "keep standard input open"),
    _flag("--tty -t", "tty", "give it a terminal"),
    _text("--user -u", "user", "USER[:GROUP]", "run as this user, by name or number"),
    _text("--workdir -w", "workdir", "DIR", "start in DIR of the container; it is made if it is absent"),
    _flag("--privileged", "privileged", "give all rights that this user has to give"),
)  # fmt: skip

CONTAINER = (
    *PROCESS,
    _many("--attach -a", "attach", "stdin|stdout|stderr", "attach to this stream only"),
    _text("--name", "name", "NAME", "give the container this name"),
    _text("--entrypoint", "entrypoint", "COMMAND", "run this instead of the image's ENTRYPOINT and CMD"),
    _text("--hostname -h", "hostname", "NAME", "the container's host name"),
    _text("--domainname", "domainname", "NAME", "the container's NIS domain"),
    _many("--label -l", "label", "KEY[=VALUE]", "give the container a label"),
    _many("--label-file", "label_file", "FILE", "give it the labels of FILE, one KEY=VALUE a line"),
    _many("--annotation", "annotation", "KEY=VALUE", "give it an annotation"),
    _text("--cidfile", "cidfile", "FILE", "write the container's id to FILE, which must not exist"),
    _text("--platform", "platform", "OS/ARCH[/VARIANT]", "use the image for this platform",
          ("DOCKER_DEFAULT_PLATFORM",)),
    _choice("--pull", "pull", "always|missing|never", "when to pull the image first (default: missing)"),
    _flag("--quiet -q", "quiet", "show nothing of the pull"),
    _flag("--rm", "rm", "remove the container and its anonymous volumes when it ends"),
    _text("--restart", "restart", "POLICY[:MAX]",
          "start it again when it ends: no, always, unless-stopped, on-failure[:MAX]"),
    _text("--stop-signal", "stop_signal", "SIGNAL", "the signal that asks it to end (default: the image's, or TERM)"),
    _text("--stop-timeout", "stop_timeout", "SECONDS", "how long to wait before it is killed (default: 10)"),
    # Health
    _text("--health-cmd", "health_cmd", "COMMAND", "check by this command whether it works"),
    _text("--health-interval", "health_interval", "TIME", "time between two checks (default: 30s)"),
    _text("--health-timeout", "health_timeout", "TIME", "how long a check may take (default: 30s)"),
    _text("--health-retries", "health_retries", "N", "how many failures in a row make it unhealthy (default: 3)"),
    _text("--health-start-period", "health_start_period", "TIME", "time to start in which failures do not count"),
    _text("--health-start-interval", "health_start_interval", "TIME", "time between checks in it (default: 5s)"),
    _choice("--health-on-failure", "health_on_failure", "none|kill|restart|stop", "what to do when it is unhealthy"),
    _flag("--no-healthcheck", "no_healthcheck", "switch the image's HEALTHCHECK off"),
    # Files
    _many("--volume -v", "volume", "[SOURCE:]TARGET[:MODE]", "mount a volume, or a directory or file of this machine"),
    _many("--mount", "mount", "type=TYPE,...", "mount a volume, bind, tmpfs or image"),
    _many("--tmpfs", "tmpfs", "TARGET[:OPTIONS]", "mount an empty file system in memory"),
    _many("--volumes-from", "volumes_from", "CONTAINER[:MODE]", "mount the volumes of another container"),
    _text("--volume-driver", "volume_driver", "DRIVER", "only `local` is there"),
    _flag("--read-only", "read_only", "let nothing be written to the root file system"),
    _many("--storage-opt", "storage_opt", "KEY=VALUE", "a quota, which the store cannot give"),
    _text("--shm-size", "shm_size", "SIZE", "size of /dev/shm (default: 64m)"),
    _many("--device", "device", "PATH[:TARGET][:rwm]", "give it a device of this machine"),
    _many("--device-cgroup-rule", "device_cgroup_rule", "RULE", "allow devices by type and number, e.g. `c 13:* rwm`"),
    _text("--gpus", "gpus", "all|N|...", "there is no driver for GPUs"),
    # Network
    _many("--network --net", "network", "MODE", "none, host, container:ID, or a network with its options"),
    _many("--network-alias --net-alias", "network_alias", "NAME", "a name on a network of users"),
    _text("--ip", "ip", "ADDRESS", "an address on a network of users"),
    _text("--ip6", "ip6", "ADDRESS", "an IPv6 address on a network of users"),
    _many("--link-local-ip", "link_local_ip", "ADDRESS", "a link-local address on a network of users"),
    _text("--mac-address", "mac_address", "ADDRESS", "the hardware address of its network device"),
    _many("--publish -p", "publish", "[[IP:]PORT:]PORT[/PROTOCOL]", "publish a port of the container"),
    _flag("--publish-all -P", "publish_all", "publish all exposed ports"),
    _many("--expose", "expose", "PORT[-PORT][/PROTOCOL]", "expose a port"),
    _many("--add-host", "add_host", "NAME:ADDRESS", "add a line to /etc/hosts"),
    _many("--dns", "dns", "ADDRESS", "use this name server"),
    _many("--dns-search", "dns_search", "DOMAIN", "search names in this domain; `.`: in none"),
    _many("--dns-option --dns-opt", "dns_option", "OPTION", "an option of resolv.conf"),
    _many("--link", "link", "CONTAINER[:NAME]", "link another container"),
    # Isolation
    _many("--cap-add", "cap_add", "CAPABILITY", "add a capability, or ALL"),
    _many("--cap-drop", "cap_drop", "CAPABILITY", "take a capability away, or ALL"),
    _many("--security-opt", "security_opt", "OPTION",
          "no-new-privileges, seccomp=FILE|unconfined, apparmor=, label=, systempaths=unconfined"),
    _many("--group-add", "group_add", "GROUP", "add a group, by name or number"),
    _text("--pid", "pid", "MODE", "PID namespace: host, container:ID"),
    _text("--ipc", "ipc", "MODE", "IPC namespace: private, shareable, none, host, container:ID"),
    _text("--uts", "uts", "MODE", "UTS namespace: host"),
    _text("--userns", "userns", "MODE", "user namespace: host"),
    _text("--cgroupns", "cgroupns", "host|private", "cgroup namespace"),
    _many("--sysctl", "sysctl", "NAME=VALUE", "set a kernel parameter of its namespaces"),
    _flag("--init", "init", "run a small init that passes signals on and reaps processes"),
    _choice("--isolation", "isolation", "default|auto|namespaces|chroot|inplace",
            "how it is kept apart from this machine (see `firkin info`)", ("FIRKIN_ISOLATION",)),
    _text("--runtime", "runtime", "NAME", "only firkin's own, which is also called runc"),
    _many("--ulimit", "ulimit", "NAME=SOFT[:HARD]", "a resource limit of its processes"),
    _text("--oom-score-adj", "oom_score_adj", "N", "how soon it is killed when memory runs out (-1000 to 1000)"),
    # Limits
    _choice("--limits", "limits", "refuse|warn", "what to do about a limit that cannot be set here (default: refuse)"),
    _text("--memory -m", "memory", "SIZE", "limit its memory"),
    _text("--memory-swap", "memory_swap", "SIZE", "limit memory and swap together; -1: no limit"),
    _text("--memory-reservation", "memory_reservation", "SIZE", "a limit that holds when memory is short"),
    _text("--memory-swappiness", "memory_swappiness", "0-100", "how readily it is swapped out"),
    _flag("--oom-kill-disable", "oom_kill_disable", "do not kill it when it reaches its limit of memory"),
    _ignored("--kernel-memory", "no kernel has this limit any more"),
    _text("--cpus", "cpus", "N", "limit it to so many processors, e.g. 1.5"),
    _text("--cpu-shares -c", "cpu_shares", "N", "its weight when processors are short (default: 1024)"),
    _text("--cpu-period", "cpu_period", "MICROSECONDS", "period of the quota"),
    _text("--cpu-quota", "cpu_quota", "MICROSECONDS", "time of processors in a period"),
    _text("--cpu-rt-period", "cpu_rt_period", "MICROSECONDS", "period of real-time processes"),
    _text("--cpu-rt-runtime", "cpu_rt_runtime", "MICROSECONDS", "time of real-time processes in a period"),
    _text("--cpuset-cpus", "cpuset_cpus", "LIST", "use these processors only, e.g. `0-3,7`"),
    _text("--cpuset-mems", "cpuset_mems", "LIST", "use these memory nodes only"),
    _text("--pids-limit", "pids_limit", "N", "limit the number of its processes; -1: no limit"),
    _text("--blkio-weight", "blkio_weight", "10-1000", "its weight when disks are busy"),
    _many("--blkio-weight-device", "blkio_weight_device", "DEVICE:WEIGHT", "its weight for one device"),
    _many("--device-read-bps", "device_read_bps", "DEVICE:SIZE", "limit what it reads in a second"),
    _many("--device-write-bps", "device_write_bps", "DEVICE:SIZE", "limit what it writes in a second"),
    _many("--device-read-iops", "device_read_iops", "DEVICE:N", "limit its reads in a second"),
    _many("--device-write-iops", "device_write_iops", "DEVICE:N", "limit its writes in a second"),
    _text("--cgroup-parent", "cgroup_parent", "PATH", "the control group to put it in"),
    # Logs
    _text("--log-driver", "log_driver", "json-file|local|none", "how its output is kept"),
    _many("--log-opt", "log_opt", "KEY=VALUE", "an option of the log, e.g. `max-size=10m`"),
    # Of other systems
    _ignored("--cpu-count", _WINDOWS),
    _ignored("--cpu-percent", _WINDOWS),
    _ignored("--io-maxbandwidth", _WINDOWS),
    _ignored("--io-maxiops", _WINDOWS),
    _ignored("--disable-content-trust", "firkin has no content trust", takes_value=False),
    _refused("--use-api-socket", "there is no daemon, so there is no socket", takes_value=False),
)  # fmt: skip

RUN = (
    _flag("--detach -d", "detach", "run it in the background and print its id"),
    _KEYS,
    _PROXY,
    *CONTAINER,
    *REGISTRY,
    *COMMON,
)
CREATE = (
    _text("--bundle", "bundle", "DIR", "write it to DIR as a bundle of the OCI runtime specification, too"),
    *CONTAINER, *REGISTRY, *COMMON,
)  # fmt: skip
START = (
    _flag("--attach -a", "attach", "show its output and pass signals on"),
    _flag("--interactive -i", "interactive", "pass standard input on"),
    _KEYS,
    _refused("--checkpoint", "containers cannot be frozen into files"),
    _refused("--checkpoint-dir", "containers cannot be frozen into files"),
    *_COMMON,
)
ATTACH = (_flag("--no-stdin", "no_stdin", "do not pass standard input on"), _KEYS, _PROXY, *_COMMON)
EXEC = (_flag("--detach -d", "detach", "run it in the background"), _KEYS, *PROCESS, *_COMMON)
