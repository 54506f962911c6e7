"""Control groups of version 2 for real: limits, pause, the OOM killer, statistics, systemd's scopes for users."""

from vm.machine import Machine

# What a front and a monitor do, without either: the groups, and a command in them.
ACT = r"""
import json, os, signal, subprocess, sys, time
from firkin.containers.documents.config import Config, HostConfig
from firkin.containers.limits.devices import DEFAULT_RULES, DeviceFacts
from firkin.containers.limits.facts import read_cgroups
from firkin.containers.limits.plan import plan_limits
from firkin.containers.limits.scope import enter_scope
from firkin.containers.documents.record import Record, State
from firkin.containers.resources import read_statistics
from firkin.linux import cgroups

MIB = 1 << 20
id = os.urandom(32).hex()
facts = read_cgroups(uid=os.getuid(), runtime_dir=os.environ.get("XDG_RUNTIME_DIR", ""))
host = HostConfig(memory=32 * MIB, memory_swap=32 * MIB, pids_limit=5, nano_cpus=500_000_000, cpu_shares=512)
plan = plan_limits(id, host, facts, "refuse", DeviceFacts(DEFAULT_RULES))
told = {"driver": facts.driver, "layout": facts.layout, "features": sorted(facts.features)}
groups = plan.groups
begin = time.monotonic()
if plan.scope is not None:
    enter_scope(plan.scope, os.getpid())
cgroups.make_groups(groups)
told["seconds"] = round(time.monotonic() - begin, 2)
place = groups["paths"][""]

def read(name):
    with open(f"{place}/{name}") as file:
        return file.read().strip()

def start(code):
    joins = cgroups.open_joins(groups)
    child = subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE,
                             preexec_fn=lambda: cgroups.join_groups(joins))
    for fd in joins:
        os.close(fd)
    return child

told["values"] = [read(name) for name in ("memory.max", "memory.swap.max", "pids.max", "cpu.max", "cpu.weight")]
watch = cgroups.open_oom(groups)
sleeper = start("print(end='.', flush=True)\nwhile True: pass")
sleeper.stdout.read(1)
told["members"] = cgroups.member_pids(groups) == [sleeper.pid]
cgroups.freeze_groups(groups, True)
def used():
    return open(f"/proc/{sleeper.pid}/stat").read().rpartition(")")[2].split()[11:13]
first = used(); time.sleep(0.3)
told["frozen"] = used() == first
cgroups.freeze_groups(groups, False); time.sleep(0.5)
told["thawed"] = used() != first
record = Record(1, id, "web", "", "", Config(), host, "sh", (), ())
sample = read_statistics(record, State(running=True, pid=sleeper.pid), "now")
told["statistics"] = [sample["source"], sample["memory_stats"]["limit"], sample["pids_stats"]["limit"],
                      sample["cpu_stats"]["cpu_usage"]["total_usage"] > 0]
devices = start("open('/dev/null')\ntry: open('/dev/kmsg')\nexcept PermissionError: print('refused')")
told["devices"] = devices.communicate()[0].decode().strip()
greedy = start("b = bytearray(64 << 20)")
told["greedy"] = greedy.wait()
told["oom"] = cgroups.oom_happened(groups, watch)
os.close(watch[0])
cgroups.freeze_groups(groups, True)
import threading
threading.Thread(target=sleeper.wait, daemon=True).start()
told["killed"] = cgroups.kill_groups(groups)
told["removed"] = cgroups.remove_groups(groups) and not os.path.exists(place)
told["own"] = open("/proc/self/cgroup").read().strip()
print(json.dumps(told))
"""
RUN = f"cat >/tmp/act-$USER.py <<'EOF'\n{ACT}EOF\npython3 /tmp/act-$USER.py"


def act(vm: Machine, user: str) -> dict[str, object]:
    import json

    told: dict[str, object] = json.loads(vm.check(RUN, user=user).splitlines()[-1])
    print(user, told)
    return told


def test_limits(vm: Machine, user: str) -> None:
    told = act(vm, user)
    assert told["layout"] == "v2"
    assert told["values"] == [str(32 << 20), "0", "5", "50000 100000", "59"]
    assert (told["members"], told["frozen"], told["thawed"]) == (True, True, True)
    assert told["statistics"] == ["cgroup", 32 << 20, 5, True]
    assert told["devices"] == "refused"  # a user may not open it anyway
    assert (told["greedy"], told["oom"]) == (-9, True)
    assert (told["killed"], told["removed"]) == (True, True)


def test_users_have_a_scope_and_root_a_group_at_the_top(vm: Machine) -> None:
    user, root = act(vm, "dev"), act(vm, "root")
    assert user["driver"] == "systemd"
    assert "/firkin.slice/firkin-" in str(user["own"]) and str(user["own"]).endswith(".scope/monitor")
    assert root["driver"] == "cgroupfs"
    assert root["own"] == "0::/firkin/monitors"
    vm.check("! systemctl --user list-units --plain --no-legend 'firkin-*' | grep firkin", user="dev")
    vm.check("rmdir /sys/fs/cgroup/firkin/monitors /sys/fs/cgroup/firkin")
