"""Options of `run` and `create`: one row each. Pure. Only `cli` may import it.

Mirrors: docker/cli cli/command/container (opts.go, run.go, create.go).
"""

from __future__ import annotations

from firkin.cli.containers.options import COMMON, KEYS, PROCESS, PROXY
from firkin.cli.options import REGISTRY, choice, flag, ignored, many, refused, text

_WINDOWS = "of Windows"

CONTAINER = (
    *PROCESS,
    many("--attach -a", "attach", "stdin|stdout|stderr", "attach to this stream only"),
    text("--name", "name", "NAME", "give the container this name"),
    text("--entrypoint", "entrypoint", "COMMAND", "run this instead of the image's ENTRYPOINT and CMD"),
    text("--hostname -h", "hostname", "NAME", "the container's host name"),
    text("--domainname", "domainname", "NAME", "the container's NIS domain"),
    many("--label -l", "label", "KEY[=VALUE]", "give the container a label"),
    many("--label-file", "label_file", "FILE", "give it the labels of FILE, one KEY=VALUE a line"),
    many("--annotation", "annotation", "KEY=VALUE", "give it an annotation"),
    text("--cidfile", "cidfile", "FILE", "write the container's id to FILE, which must not exist"),
    text("--platform", "platform", "OS/ARCH[/VARIANT]", "use the image for this platform",
          ("DOCKER_DEFAULT_PLATFORM",)),
    choice("--pull", "pull", "always|missing|never", "when to pull the image first (default: missing)"),
    flag("--quiet -q", "quiet", "show nothing of the pull"),
    flag("--rm", "rm", "remove the container and its anonymous volumes when it ends"),
    text("--restart", "restart", "POLICY[:MAX]",
          "start it again when it ends: no, always, unless-stopped, on-failure[:MAX]"),
    text("--stop-signal", "stop_signal", "SIGNAL", "the signal that asks it to end (default: the image's, or TERM)"),
    text("--stop-timeout", "stop_timeout", "SECONDS", "how long to wait before it is killed (default: 10)"),
    # Health
    text("--health-cmd", "health_cmd", "COMMAND", "check by this command whether it works"),
    text("--health-interval", "health_interval", "TIME", "time between two checks (default: 30s)"),
    text("--health-timeout", "health_timeout", "TIME", "how long a check may take (default: 30s)"),
    text("--health-retries", "health_retries", "N", "how many failures in a row make it unhealthy (default: 3)"),
    text("--health-start-period", "health_start_period", "TIME", "time to start in which failures do not count"),
    text("--health-start-interval", "health_start_interval", "TIME", "time between checks in it (default: 5s)"),
    choice("--health-on-failure", "health_on_failure", "none|kill|restart|stop", "what to do when it is unhealthy"),
    flag("--no-healthcheck", "no_healthcheck", "switch the image's HEALTHCHECK off"),
    # Files
    many("--volume -v", "volume", "[SOURCE:]TARGET[:MODE]", "mount a volume, or a directory or file of this machine"),
    many("--mount", "mount", "type=TYPE,...", "mount a volume, bind, tmpfs or image"),
    many("--tmpfs", "tmpfs", "TARGET[:OPTIONS]", "mount an empty file system in memory"),
    many("--volumes-from", "volumes_from", "CONTAINER[:MODE]", "mount the volumes of another container"),
    text("--volume-driver", "volume_driver", "DRIVER", "only `local` is there"),
    flag("--read-only", "read_only", "let nothing be written to the root file system"),
    many("--storage-opt", "storage_opt", "KEY=VALUE", "a quota, which the store cannot give"),
    text("--shm-size", "shm_size", "SIZE", "size of /dev/shm (default: 64m)"),
    many("--device", "device", "PATH[:TARGET][:rwm]", "give it a device of this machine"),
    many("--device-cgroup-rule", "device_cgroup_rule", "RULE", "allow devices by type and number, e.g. `c 13:* rwm`"),
    text("--gpus", "gpus", "all|N|...", "there is no driver for GPUs"),
    # Network
    many("--network --net", "network", "MODE", "none, host, container:ID, or a network with its options"),
    many("--network-alias --net-alias", "network_alias", "NAME", "a name on a network of users"),
    text("--ip", "ip", "ADDRESS", "an address on a network of users"),
    text("--ip6", "ip6", "ADDRESS", "an IPv6 address on a network of users"),
    many("--link-local-ip", "link_local_ip", "ADDRESS", "a link-local address on a network of users"),
    text("--mac-address", "mac_address", "ADDRESS", "the hardware address of its network device"),
    many("--publish -p", "publish", "[[IP:]PORT:]PORT[/PROTOCOL]", "publish a port of the container"),
    flag("--publish-all -P", "publish_all", "publish all exposed ports"),
    many("--expose", "expose", "PORT[-PORT][/PROTOCOL]", "expose a port"),
    many("--add-host", "add_host", "NAME:ADDRESS", "add a line to /etc/hosts"),
    many("--dns", "dns", "ADDRESS", "use this name server"),
    many("--dns-search", "dns_search", "DOMAIN", "search names in this domain; `.`: in none"),
    many("--dns-option --dns-opt", "dns_option", "OPTION", "an option of resolv.conf"),
    many("--link", "link", "CONTAINER[:NAME]", "link another container"),
    # Isolation
    many("--cap-add", "cap_add", "CAPABILITY", "add a capability, or ALL"),
    many("--cap-drop", "cap_drop", "CAPABILITY", "take a capability away, or ALL"),
    many("--security-opt", "security_opt", "OPTION",
          "no-new-privileges, seccomp=FILE|unconfined, apparmor=, label=, systempaths=unconfined"),
    many("--group-add", "group_add", "GROUP", "add a group, by name or number"),
    text("--pid", "pid", "MODE", "PID namespace: host, container:ID"),
    text("--ipc", "ipc", "MODE", "IPC namespace: private, shareable, none, host, container:ID"),
    text("--uts", "uts", "MODE", "UTS namespace: host"),
    text("--userns", "userns", "MODE", "user namespace: host"),
    text("--cgroupns", "cgroupns", "host|private", "cgroup namespace"),
    many("--sysctl", "sysctl", "NAME=VALUE", "set a kernel parameter of its namespaces"),
    flag("--init", "init", "run a small init that passes signals on and reaps processes"),
    choice("--isolation", "isolation", "default|auto|namespaces|chroot|inplace",
            "how it is kept apart from this machine (see `firkin info`)", ("FIRKIN_ISOLATION",)),
    text("--runtime", "runtime", "NAME", "only firkin's own, which is also called runc"),
    many("--ulimit", "ulimit", "NAME=SOFT[:HARD]", "a resource limit of its processes"),
    text("--oom-score-adj", "oom_score_adj", "N", "how soon it is killed when memory runs out (-1000 to 1000)"),
    # Limits
    choice("--limits", "limits", "refuse|warn", "what to do about a limit that cannot be set here (default: refuse)"),
    text("--memory -m", "memory", "SIZE", "limit its memory"),
    text("--memory-swap", "memory_swap", "SIZE", "limit memory and swap together; -1: no limit"),
    text("--memory-reservation", "memory_reservation", "SIZE", "a limit that holds when memory is short"),
    text("--memory-swappiness", "memory_swappiness", "0-100", "how readily it is swapped out"),
    flag("--oom-kill-disable", "oom_kill_disable", "do not kill it when it reaches its limit of memory"),
    ignored("--kernel-memory", "no kernel has this limit any more"),
    text("--cpus", "cpus", "N", "limit it to so many processors, e.g. 1.5"),
    text("--cpu-shares -c", "cpu_shares", "N", "its weight when processors are short (default: 1024)"),
    text("--cpu-period", "cpu_period", "MICROSECONDS", "period of the quota"),
    text("--cpu-quota", "cpu_quota", "MICROSECONDS", "time of processors in a period"),
    text("--cpu-rt-period", "cpu_rt_period", "MICROSECONDS", "period of real-time processes"),
    text("--cpu-rt-runtime", "cpu_rt_runtime", "MICROSECONDS", "time of real-time processes in a period"),
    text("--cpuset-cpus", "cpuset_cpus", "LIST", "use these processors only, e.g. `0-3,7`"),
    text("--cpuset-mems", "cpuset_mems", "LIST", "use these memory nodes only"),
    text("--pids-limit", "pids_limit", "N", "limit the number of its processes; -1: no limit"),
    text("--blkio-weight", "blkio_weight", "10-1000", "its weight when disks are busy"),
    many("--blkio-weight-device", "blkio_weight_device", "DEVICE:WEIGHT", "its weight for one device"),
    many("--device-read-bps", "device_read_bps", "DEVICE:SIZE", "limit what it reads in a second"),
    many("--device-write-bps", "device_write_bps", "DEVICE:SIZE", "limit what it writes in a second"),
    many("--device-read-iops", "device_read_iops", "DEVICE:N", "limit its reads in a second"),
    many("--device-write-iops", "device_write_iops", "DEVICE:N", "limit its writes in a second"),
    text("--cgroup-parent", "cgroup_parent", "PATH", "the control group to put it in"),
    # Logs
    text("--log-driver", "log_driver", "json-file|local|none", "how its output is kept"),
    many("--log-opt", "log_opt", "KEY=VALUE", "an option of the log, e.g. `max-size=10m`"),
    # Of other systems
    ignored("--cpu-count", _WINDOWS),
    ignored("--cpu-percent", _WINDOWS),
    ignored("--io-maxbandwidth", _WINDOWS),
    ignored("--io-maxiops", _WINDOWS),
    ignored("--disable-content-trust", "firkin has no content trust", takes_value=False),
    refused("--use-api-socket", "there is no daemon, so there is no socket", takes_value=False),
)  # fmt: skip

RUN = (
    flag("--detach -d", "detach", "run it in the background and print its id"),
    KEYS,
    PROXY,
    *CONTAINER,
    *REGISTRY,
    *COMMON,
)
CREATE = (
    text("--bundle", "bundle", "DIR", "write it to DIR as a bundle of the OCI runtime specification, too"),
    *CONTAINER, *REGISTRY, *COMMON,
)  # fmt: skip
