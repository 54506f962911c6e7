"""The options of `run` and `create` as a request, and what they refuse."""

import pytest

from firkin.ambient import Ambient
from firkin.cli.arguments import OPTION, parse_arguments
from firkin.cli.containers.making_options import CREATE, RUN
from firkin.cli.containers.options import ATTACH, EXEC, START
from firkin.cli.containers.requests import request_of
from firkin.cli.options import by_flag
from firkin.containers.documents.checks import check_request
from firkin.containers.documents.config import (
    BindOptions,
    CreateRequest,
    Device,
    DriverConfig,
    HealthConfig,
    ImageOptions,
    LogConfig,
    Mount,
    PortBinding,
    RestartPolicy,
    ThrottleDevice,
    TmpfsOptions,
    Ulimit,
    VolumeOptions,
    WeightDevice,
)
from firkin.errors import ContainerError, UsageError

AMBIENT = Ambient({"HOME": "/home/u", "HERE": "yes"}, "/work/here", "/home/u", 1000, 0.0)


def request(*words: str, proxies: dict[str, str] | None = None) -> CreateRequest:
    arguments = parse_arguments((*words, "app:1", "-x", "--rm"), RUN, {}, interspersed=False)
    image, *command = arguments.operands
    return request_of(arguments, AMBIENT, image=image, command=tuple(command), proxies=proxies or {})


def refusal(*words: str) -> str:
    with pytest.raises(UsageError) as caught:
        request(*words)
    assert caught.value.code == OPTION  # which ends with 125
    return caught.value.message


def host(*words: str, field: str) -> object:
    return getattr(request(*words).host_config, field)


def test_what_follows_the_image_is_the_command():
    made = request()
    assert (made.config.image, made.config.cmd) == ("app:1", ("-x", "--rm"))
    assert not made.host_config.auto_remove
    assert (made.config.attach_stdout, made.config.attach_stderr, made.config.attach_stdin) == (True, True, False)
    assert (made.config.env, made.config.labels, made.config.entrypoint) == (None, None, None)


@pytest.mark.parametrize(("words", "streams"), [
    ("-i", "stdin stdout stderr once open"),
    ("-a stdin", "stdin"),
    ("-a STDOUT", "stdout"),
    ("-a stderr -i", "stdin stderr once open"),
    ("-a stdin -a stdout -it", "stdin stdout once open tty"),
])
def test_attached_streams(words, streams):
    config = request(*words.split()).config
    found = {"stdin": config.attach_stdin, "stdout": config.attach_stdout, "stderr": config.attach_stderr,
             "once": config.stdin_once, "open": config.open_stdin, "tty": config.tty}  # fmt: skip
    assert " ".join(name for name, on in found.items() if on) == streams


@pytest.mark.parametrize(("words", "entrypoint"), [
    ((), None), (("--entrypoint", ""), ("",)), (("--entrypoint=sh",), ("sh",)),
])
def test_an_empty_entrypoint_is_one_empty_word(words, entrypoint):
    assert request(*words).config.entrypoint == entrypoint


def test_variables_come_from_files_options_and_the_environment(tmp_path):
    file = tmp_path / "env"
    file.write_bytes(b"\xef\xbb\xbfA=1\r\n# comment\n\n  B=two words \nHERE\nGONE\nC=x=y\n")
    made = request("--env-file", str(file), "-e", "A=2", "-e", "HERE", "-e", "GONE", "-e", "E=")
    assert made.config.env == ("A=1", "B=two words ", "HERE=yes", "C=x=y", "A=2", "HERE=yes", "GONE", "E=")


def test_proxies_of_dockers_config_are_added():
    made = request("-e", "http_proxy=own", proxies={"httpProxy": "p:1", "noProxy": "n"})
    assert made.config.env == ("http_proxy=own", "HTTP_PROXY=p:1", "NO_PROXY=n", "no_proxy=n")


@pytest.mark.parametrize(("content", "words"), [
    (b"=x\n", "no variable name on line '=x'"),
    (b"a b=c\n", "variable 'a b' contains whitespaces"),
    (b"a=\xff\n", "invalid utf8 bytes at line 1"),
])
def test_poor_files_of_variables(tmp_path, content, words):
    (tmp_path / "env").write_bytes(content)
    assert words in refusal("--env-file", str(tmp_path / "env"))


def test_a_missing_file_of_variables():
    assert refusal("--env-file", "nothing") == "open /work/here/nothing: no such file or directory"


def test_labels_come_from_files_and_options(tmp_path):
    (tmp_path / "labels").write_text("a=1\nb\n")
    made = request("--label-file", str(tmp_path / "labels"), "-l", "a=2", "--label", "c=x=y")
    assert made.config.labels == {"a": "2", "b": "", "c": "x=y"}


@pytest.mark.parametrize(("text", "binds", "volumes"), [
    ("/a:/b", ("/a:/b",), None),
    ("data:/b:ro,nocopy", ("data:/b:ro,nocopy",), None),
    ("./sub:/b", ("/work/here/sub:/b",), None),
    (".:/b", ("/work/here:/b",), None),
    ("../x:/b:Z", ("/work/x:/b:Z",), None),
    ("/only", None, {"/only": {}}),
    (".hidden:/b", (".hidden:/b",), None),
])
def test_volumes(text, binds, volumes):
    made = request("-v", text)
    assert (made.host_config.binds, made.config.volumes) == (binds, volumes)


@pytest.mark.parametrize(("text", "mount"), [
    ("dst=/d", Mount("volume", target="/d")),
    ("src=v,target=/d,ro", Mount("volume", "v", "/d", read_only=True)),
    ("type=BIND,source=.,destination=/d,readonly=true,bind-propagation=rslave",
     Mount("bind", "/work/here", "/d", read_only=True, bind_options=BindOptions("rslave"))),
    ("type=bind,src=/a,dst=/d,bind-recursive=disabled", Mount("bind", "/a", "/d", bind_options=BindOptions(non_recursive=True))),
    ("type=bind,src=/a,dst=/d,ro,bind-recursive=writable",
     Mount("bind", "/a", "/d", read_only=True, bind_options=BindOptions(read_only_non_recursive=True))),
    ("type=bind,src=/a,dst=/d,ro,bind-recursive=readonly,bind-propagation=rprivate",
     Mount("bind", "/a", "/d", read_only=True, bind_options=BindOptions("rprivate", read_only_force_recursive=True))),
    ("type=bind,src=/a,dst=/d,bind-create-src", Mount("bind", "/a", "/d", bind_options=BindOptions(create_mountpoint=True))),
    ("src=v,dst=/d,volume-nocopy,volume-subpath=a/b,volume-label=k=v,volume-driver=local,volume-opt=type=tmpfs",
     Mount("volume", "v", "/d", volume_options=VolumeOptions(True, {"k": "v"}, DriverConfig("local", {"type": "tmpfs"}), "a/b"))),
    ('"type=tmpfs","dst=/a,b",tmpfs-size=1m,tmpfs-mode=1770', Mount("tmpfs", target="/a,b", tmpfs_options=TmpfsOptions(1 << 20, 0o1770))),
    ("type=image,src=app,dst=/d,image-subpath=x", Mount("image", "app", "/d", image_options=ImageOptions("x"))),
])
def test_mounts(text, mount):
    assert host("--mount", text, field="mounts") == (mount,)


@pytest.mark.parametrize(("text", "why"), [
    ("type=volume", "target is required"),
    ("dst=/d,x", "invalid field 'x' must be a key=value pair"),
    ("dst=/d,x=y", "unexpected key 'x' in 'x=y'"),
    ("dst=/d,ro=maybe", "invalid value for readonly: maybe"),
    ("type=,dst=/d", "type is required"),
    ("type=bind,src=/a,dst=/d,volume-nocopy", "cannot mix 'volume-*' options with mount type 'bind'"),
    ("dst=/d,tmpfs-size=1m", "cannot mix 'tmpfs-*' options with mount type 'volume'"),
    ("type=tmpfs,dst=/d,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
    ("type=tmpfs,dst=/d,tmpfs-size=x", "invalid value for tmpfs-size: x"),
    ("type=bind,src=/a,dst=/d,bind-recursive=x", "invalid value for bind-recursive: x"),
    ("type=bind,src=/a,dst=/d,bind-recursive=writable", "requires 'readonly' to be specified"),
    ("type=bind,src=/a,dst=/d,bind-propagation=x", "invalid propagation mode: x"),
    ('"dst=/d', "a quote is not closed"),
])
def test_poor_mounts(text, why):
    assert refusal("--mount", text).startswith(f'invalid argument "{text}" for "--mount" flag: ')
    assert why in refusal("--mount", text)


def test_memory_file_systems():
    assert host("--tmpfs", "/run", "--tmpfs", "/tmp:rw,size=1m", field="tmpfs") == {"/run": "", "/tmp": "rw,size=1m"}


@pytest.mark.parametrize(("text", "device"), [
    ("/dev/null", Device("/dev/null", "/dev/null")),
    ("/dev/null:/dev/x", Device("/dev/null", "/dev/x")),
    ("/dev/null:r", Device("/dev/null", "/dev/null", "r")),
    ("/dev/null:/dev/x:rw", Device("/dev/null", "/dev/x", "rw")),
    ("/dev/nul*:m", Device("/dev/null", "/dev/null", "m")),
])
def test_devices(text, device):
    assert host("--device", text, field="devices") == (device,)


@pytest.mark.parametrize(("text", "why"), [
    ("", "bad format for path"), ("null", "null is not an absolute path"), ("/dev/null:/x:rr", "bad mode specified: rr"),
    ("/a:/b:r:w", "bad format for path"), ("/dev/nul*:/dev/x", "device with * suffix can't have dst"),
])
def test_poor_devices(text, why):
    assert why in refusal("--device", text)


@pytest.mark.parametrize("words", [("--gpus", "all"), ("--gpus", "2"), ("--device", "nvidia.com/gpu=all")])
def test_there_is_no_driver_for_gpus(words):
    with pytest.raises(ContainerError, match="could not select device driver"):
        check_request(request(*words))


@pytest.mark.parametrize(("text", "bindings"), [
    ("80", {"80/tcp": (PortBinding("", ""),)}),
    ("8080:80", {"80/tcp": (PortBinding("", "8080"),)}),
    ("127.0.0.1:8080:80/udp", {"80/udp": (PortBinding("127.0.0.1", "8080"),)}),
    ("127.0.0.1::80", {"80/tcp": (PortBinding("127.0.0.1", ""),)}),
    ("[::1]:80:80", {"80/tcp": (PortBinding("::1", "80"),)}),
    ("::1:80:80", {"80/tcp": (PortBinding("::1", "80"),)}),
    ("8000-8001:80-81", {"80/tcp": (PortBinding("", "8000"),), "81/tcp": (PortBinding("", "8001"),)}),
    ("8000-8009:80", {"80/tcp": (PortBinding("", "8000-8009"),)}),
    ("published=8080,target=80,protocol=sctp", {"80/sctp": (PortBinding("", "8080"),)}),
])
def test_published_ports(text, bindings):
    made = request("-p", text)
    assert made.host_config.port_bindings == bindings
    assert made.config.exposed_ports == {port: {} for port in bindings}


@pytest.mark.parametrize(("words", "why"), [
    (("-p", "x"), "invalid containerPort: x"),
    (("-p", "80:"), "no port specified: 80:<empty>"),
    (("-p", "99999:80"), "invalid hostPort: 99999"),
    (("-p", "80/http"), "invalid proto: http"),
    (("-p", "1.2.3:80:80"), "invalid IP address: 1.2.3"),
    (("-p", "80-81:90-99"), "invalid ranges specified"),
    (("-p", "target=80,x"), "invalid publish opts format (should be name=value but got 'x')"),
    (("--expose", "1:2"), "invalid port format for --expose: 1:2"),
    (("--expose", "9-8"), "invalid range format for --expose: 9-8"),
])
def test_poor_ports(words, why):
    assert why in refusal(*words)


def test_exposed_ports():
    assert request("--expose", "80-81/udp", "--expose", "9").config.exposed_ports == {"80/udp": {}, "81/udp": {}, "9/tcp": {}}


@pytest.mark.parametrize(("words", "mode"), [
    ((), "default"), (("--network", "none"), "none"), (("--net=host",), "host"),
    (("--network", "container:abc"), "container:abc"), (("--network", "name=mine,alias=db,ip=10.0.0.2"), "mine"),
])
def test_network_modes(words, mode):
    assert host(*words, field="network_mode") == mode


@pytest.mark.parametrize(("words", "why"), [
    (("--network-alias", "x"), "network-scoped aliases are only supported for user-defined networks"),
    (("--network", "name=host,alias=x"), "network-scoped aliases are only supported for user-defined networks"),
    (("--ip", "10.0.0.1"), "user specified IP address is supported on user defined networks only"),
    (("--network", "name=a,x=y"), "invalid field key x"),
    (("--network", "alias=a"), "network name/id is not specified"),
    (("--network", "a", "--network", "host"), "cannot attach both user-defined and non-user-defined"),
    (("--network", "a", "--network", "a"), 'network "a" is specified multiple times'),
    (("--mac-address", "1:2"), "1:2 is not a valid mac address"),
    (("--link", "a:b:c"), "bad format for links: a:b:c"),
    (("--dns", "x"), "IP address is not correctly formatted: x"),
    (("--dns-search", "a b"), "invalid domain: a b"),
    (("--add-host", "a"), 'bad format for add-host: "a"'),
    (("--add-host", "a:x"), 'invalid IP address in add-host: "x"'),
])
def test_poor_networks(words, why):
    assert why in refusal(*words)


def test_names_and_hosts():
    made = request("--add-host", "a:1.2.3.4", "--add-host", "b=[::1]", "--add-host", "c:::1", "--add-host", "d:host-gateway",
                   "--dns", "9.9.9.9", "--dns-search", ".", "--dns-opt", "ndots:1").host_config  # fmt: skip
    assert made.extra_hosts == ("a:1.2.3.4", "b:::1", "c:::1", "d:host-gateway")
    assert (made.dns, made.dns_search, made.dns_options) == (("9.9.9.9",), (".",), ("ndots:1",))


@pytest.mark.parametrize(("words", "field", "value"), [
    (("-m", "64m"), "memory", 64 << 20),
    (("--memory-swap", "-1"), "memory_swap", -1),
    (("--memory-swap=1g",), "memory_swap", 1 << 30),
    (("--memory-swappiness", "0"), "memory_swappiness", 0),
    (("--memory-reservation", "1.5k"), "memory_reservation", 1536),
    (("--oom-kill-disable",), "oom_kill_disable", True),
    (("--cpus", "1.5"), "nano_cpus", 1_500_000_000),
    (("--cpus", ".25"), "nano_cpus", 250_000_000),
    (("--cpus", "3/2"), "nano_cpus", 1_500_000_000),
    (("-c", "512"), "cpu_shares", 512),
    (("--cpu-quota", "-1"), "cpu_quota", -1),
    (("--cpuset-cpus", "0-1"), "cpuset_cpus", "0-1"),
    (("--pids-limit", "0x10"), "pids_limit", 16),
    (("--blkio-weight-device", "/dev/sda:200"), "blkio_weight_device", (WeightDevice("/dev/sda", 200),)),
    (("--device-read-bps", "/dev/sda:1mb"), "blkio_device_read_bps", (ThrottleDevice("/dev/sda", 1 << 20),)),
    (("--device-write-iops", "/dev/sda:5"), "blkio_device_write_iops", (ThrottleDevice("/dev/sda", 5),)),
    (("--ulimit", "nofile=1:2", "--ulimit", "core=-1", "--ulimit", "nofile=3"), "ulimits",
     (Ulimit("core", -1, -1), Ulimit("nofile", 3, 3))),
    (("--sysctl", "net.core.somaxconn=1", "--sysctl", "kernel.sem=1 2"), "sysctls",
     {"net.core.somaxconn": "1", "kernel.sem": "1 2"}),
    (("--device-cgroup-rule", "c 13:* rwm"), "device_cgroup_rules", ("c 13:* rwm",)),
    (("--shm-size", "1g"), "shm_size", 1 << 30),
    (("--oom-score-adj", "-500"), "oom_score_adj", -500),
    (("--init",), "init", True),
    (("--init=false",), "init", False),
    (("--rm",), "auto_remove", True),
    (("--restart", "on-failure:3"), "restart_policy", RestartPolicy("on-failure", 3)),
    (("--restart", "always"), "restart_policy", RestartPolicy("always")),
    (("--log-driver", "local", "--log-opt", "max-size=1m"), "log_config", LogConfig("local", {"max-size": "1m"})),
    (("--annotation", "a=b"), "annotations", {"a": "b"}),
    (("--cap-add", "ALL", "--cap-add", "x"), "cap_add", ("ALL", "x")),
    (("--group-add", "audio"), "group_add", ("audio",)),
    (("--volumes-from", "a:ro"), "volumes_from", ("a:ro",)),
    (("--security-opt", "systempaths=unconfined"), "masked_paths", ()),
    (("--security-opt", "no-new-privileges"), "masked_paths", None),
])
def test_how_it_runs(words, field, value):
    assert host(*words, field=field) == value


@pytest.mark.parametrize(("words", "why"), [
    (("-m", "x"), 'invalid argument "x" for "--memory" flag: invalid size: \'x\''),
    (("--cpus", "x"), 'invalid argument "x" for "--cpus" flag: failed to parse x as a rational number'),
    (("--cpus", "1.0000000001"), "value is too precise"),
    (("--cpus", "1/0"), "failed to parse"),
    (("--cpu-shares", "x"), 'strconv.ParseInt: parsing "x": invalid syntax'),
    (("--memory-swappiness", "101"), "Valid memory swappiness range is 0-100"),
    (("--blkio-weight-device", "/dev/sda:5"), "invalid weight for device"),
    (("--device-read-bps", "sda:5"), "bad format for device path"),
    (("--device-read-bps", "/dev/sda"), "bad format: /dev/sda"),
    (("--device-read-iops", "/dev/sda:x"), "invalid rate for device"),
    (("--ulimit", "x"), "invalid ulimit argument: x"),
    (("--ulimit", "x=1"), "invalid ulimit type: x"),
    (("--ulimit", "core=1:2:3"), "too many limit value arguments - 1:2:3"),
    (("--ulimit", "core=2:1"), "ulimit soft limit must be less than or equal to hard limit: 2 > 1"),
    (("--sysctl", "kernel.hostname=x"), "sysctl 'kernel.hostname=x' is not allowed"),
    (("--device-cgroup-rule", "d 1:1 r"), "invalid device cgroup format 'd 1:1 r'"),
    (("--restart", ":3"), "no policy provided before colon"),
    (("--restart", "on-failure:x"), "maximum retry count must be an integer"),
    (("--restart", "always", "--rm"), "Conflicting options: --restart and --rm"),
    (("--log-driver", "none", "--log-opt", "a=b"), "invalid logging opts for driver none"),
    (("--no-healthcheck", "--health-cmd", "x"), "--no-healthcheck conflicts with --health-* options"),
    (("--health-interval", "5"), 'time: missing unit in duration "5"'),
    (("--health-timeout=-1s",), "--health-timeout cannot be negative"),
    (("-e", "=x"), "invalid environment variable: =x"),
    (("-l", "=x"), "invalid label '=x': empty name"),
    (("-a", "stdboth"), "valid streams are STDIN, STDOUT and STDERR"),
    (("--security-opt", "x"), 'Invalid --security-opt: "x"'),
    (("--security-opt", "seccomp=nothing"), "opening seccomp profile (nothing) failed: open nothing: no such file"),
    (("--storage-opt", "x"), "invalid storage option"),
    (("--pull", "sometimes"), "`--pull` cannot be `sometimes`"),
    (("--use-api-socket",), "cannot work here"),
])
def test_poor_values(words, why):
    assert why in refusal(*words)


def test_health_checks():
    made = request("--health-cmd", "test -e /x", "--health-interval", "1m30s", "--health-retries", "2", "--health-on-failure", "kill")
    assert made.config.healthcheck == HealthConfig(("CMD-SHELL", "test -e /x"), 90_000_000_000, retries=2, on_failure="kill")
    assert request("--no-healthcheck").config.healthcheck == HealthConfig(("NONE",))
    assert request("--health-on-failure", "none").config.healthcheck is None


def test_a_seccomp_profile_travels_as_text(tmp_path):
    (tmp_path / "profile.json").write_text('{\n  "defaultAction": "SCMP_ACT_ALLOW"\n}\n')
    made = host("--security-opt", f"seccomp={tmp_path}/profile.json", "--security-opt", "seccomp:unconfined", field="security_opt")
    assert made == ('seccomp={"defaultAction":"SCMP_ACT_ALLOW"}', "seccomp:unconfined")
    (tmp_path / "profile.json").write_text("{")
    assert "compacting json for seccomp profile" in refusal("--security-opt", f"seccomp={tmp_path}/profile.json")


def test_dash_h_is_the_host_name():
    assert request("-h", "box").config.hostname == "box"
    assert "-h" not in by_flag(RUN)["--help"].flags


@pytest.mark.parametrize("rows", [RUN, CREATE, START, ATTACH, EXEC])
def test_every_spelling_is_there_once(rows):
    spelt = [flag for row in rows for flag in row.flags]
    assert sorted(spelt) == sorted(set(spelt))


def test_every_option_of_a_container_is_read():
    """No row whose value goes nowhere: each is given alone and changes the request, or belongs to the command."""
    samples = {
        "text": "1", "choice": "", "many": "a=1", "flag": "",
    }
    special = {
        "mount": "dst=/d", "tmpfs": "/t", "device": "/dev/null", "device_cgroup_rule": "c 1:1 r", "network": "host", "ip": "",
        "publish": "80", "expose": "80", "add_host": "a:1.1.1.1", "dns": "1.1.1.1", "dns_search": "a", "link": "a:b",
        "sysctl": "net.a=1", "ulimit": "core=1", "memory": "8m", "memory_swap": "8m", "attach": "stdout", "env_file": "/dev/null",
        "label_file": "/dev/null", "mac_address": "02:42:ac:11:00:02", "restart": "always", "security_opt": "label=x",
        "blkio_weight_device": "/dev/a:10", "device_read_bps": "/dev/a:1", "device_write_bps": "/dev/a:1",
        "device_read_iops": "/dev/a:1", "device_write_iops": "/dev/a:1", "health_interval": "1s", "health_timeout": "1s",
        "health_start_period": "1s", "health_start_interval": "1s", "log_driver": "local",
    }  # fmt: skip
    of_the_command = {"quiet", "pull", "detach", "sig_proxy", "detach_keys", "root", "config", "debug", "help", "env_file", "label_file",
                      "network_alias", "ip", "ip6", "link_local_ip"}  # fmt: skip
    plain = request()
    silent = []
    for row in RUN:
        if not row.dest or row.dest in of_the_command or row.dest.startswith(("registry", "tls", "insecure", "no_mirror", "auth")):
            continue
        value = special.get(row.dest, samples[row.kind]) or (row.choices[-1] if row.choices else "")
        if request(f"{row.flags[0]}={value}" if row.wants_value else row.flags[0]) == plain:
            silent.append(row.flags[0])
    assert silent == []
