"""What is compared with docker of containers: one session, without a network. Pure."""

from __future__ import annotations

from differential.parity import Step

BOX = "--network none {registry}/box:1"


def _steps(text: str, **options: str) -> tuple[Step, ...]:
    return tuple(Step(line.strip(), **options) for line in text.strip().splitlines())  # type: ignore[arg-type]


CREATE = (
    Step("pull -q {registry}/box:1"),
    Step(f"create --name made --label a=b --env X=1 {BOX} /bin/sh -c 'exit 3'", form="none"),
    Step(f"create --name made {BOX} true", says="is already in use by container"),
    Step(f"create --name -bad- {BOX} true", says="Invalid container name"),
    Step("create --network none {registry}/box:nothing true", says="not found"),
    Step(f"create --restart bogus {BOX} true", says="nvalid restart policy"),
    Step("create"),
    Step("create --bogus x", says="--bogus"),
    Step(f"container create --name plain {BOX}", says="o command specified"),
    *_steps("""
        ps --format '{{.Names}}'
        ps -a --format '{{.Names}} {{.Status}} {{.State}} {{.Image}} {{.Command}}|{{.Ports}}|{{.Labels}}|{{.Networks}}'
        ps -a --format '{{.Names}}|{{.Mounts}}|{{.LocalVolumes}}|{{.Label "a"}}|{{len .ID}}'
        ps -a --no-trunc --format '{{.Command}} {{len .ID}}'
        ps -a --format 'table {{.Names}}\\t{{.Label "com.x.a-b"}}\\t{{.State}}'
        ps -a -f status=created --format '{{.Names}}'
        ps -a -f label=a=c --format '{{.Names}}'
        ps -a -f name=ma -f exited=0 --format '{{.Names}}'
        container ls --all --filter network=none --format '{{.Names}}'
        ps
        ps -lq --format '{{.Names}}' -f name=nothing
    """),
    Step("ps -f bogus=1", says="nvalid filter"),
    Step("ps -f status=x", says="nvalid filter"),
    Step("ps -f exited=x"),
    Step("ps -f before=nothing", says="o such container"),
    Step("ps x"),
    Step("inspect -f '{{.State.Status}} {{.State.Running}} {{.State.Pid}} {{.State.ExitCode}} {{.State.StartedAt}}' made"),
    Step("inspect -f '{{.Name}} {{.Path}} {{.Args}} {{.RestartCount}} {{.Platform}} {{len .Id}}' made"),
    Step("inspect -f '{{json .Config.Env}} {{json .Config.Cmd}} {{json .Config.Entrypoint}} {{json .Config.Labels}}' made"),
    Step("inspect -f '{{.Config.Image}} {{.Config.Tty}} {{.Config.AttachStdout}} {{json .Config.Volumes}}' made"),
    Step("inspect -f '{{json .HostConfig.RestartPolicy}} {{json .HostConfig.LogConfig}} {{json .HostConfig.Binds}}' made"),
    Step("inspect -f '{{json .HostConfig.PortBindings}} {{json .HostConfig.PidsLimit}} {{.HostConfig.ShmSize}}' made"),
    Step("inspect -f '{{json .HostConfig.MemorySwappiness}} {{.HostConfig.Memory}} {{.HostConfig.IpcMode}}' made"),
    Step("inspect -f '{{json .HostConfig.CapAdd}} {{json .HostConfig.Devices}} {{.HostConfig.NetworkMode}}' made"),
    Step("inspect -f '{{json .NetworkSettings.Ports}} {{json .Mounts}} {{.SizeRw}}' made"),
    Step("container inspect -f '{{.State.Health}}' made", form="none"),
    Step("inspect --type image made", says="made"),
    Step("inspect --type bogus made"),
    Step("container inspect nothing", says="o such container"),
    Step("inspect nothing made -f '{{.Name}}'", says="o such object"),
)  # fmt: skip

RUN = (
    *_steps("""
        start made
        wait made
        start -a made
        inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}' made
    """),
    Step("start nothing", says="o such container"),
    Step("start"),
    Step(f"run --rm {BOX} /bin/sh -c 'echo out; echo err >&2; exit 7'", says="err"),
    Step(f"run --name talks {BOX} /bin/sh -c 'echo one; echo two >&2; printf end'"),
    *_steps("""
        logs talks
        logs --tail 1 talks
        logs --tail 0 talks
        logs --tail x talks
        logs --details talks
        logs --since 1h --until 2000-01-01 talks
        container logs -f talks
    """),
    Step("logs nothing", says="o such container"),
    Step("logs --since x talks"),
    Step("logs"),
    Step(f"run --name quiet --log-driver none {BOX} /bin/sh -c true"),
    Step("logs quiet", says="configured logging driver does not support reading"),
    Step(f"run {BOX} /bin/nothing", says="no such file or directory"),
    Step(f"run {BOX} /bin", says="permission denied"),
    Step(f"run --rm {BOX} nothing", says="executable file not found"),
    Step(f"run -d --name up {BOX} /bin/sh -c 'trap \"exit 5\" TERM; while true; do /bin/busybox sleep 0.1; done'", form="none"),
    Step("ps --format '{{.Names}} {{.Status}} {{.State}}'"),
    Step("port up"),
    Step("port up 80", says="No public port '80"),
    Step("port up x"),
    Step("top up -o pid,comm", form="none"),
    Step("top up -o comm", says="PID"),
    Step("top made", says="is not running"),
    Step("pause up"),
    Step("ps --format '{{.Names}} {{.Status}} {{.State}}'"),
    Step("pause up", says="already paused"),
    Step("exec up true", says="is paused"),
    Step("unpause up"),
    Step("unpause up", says="is not paused"),
    Step("exec up /bin/sh -c 'exit 9'"),
    Step("exec made true", says="is not running"),
    Step("exec nothing true", says="o such container"),
    Step("attach made", says="start it first"),
    Step("update --restart on-failure:2 up made"),
    Step("update up", says="provide one or more flags"),
    Step("update --restart bogus up", says="nvalid restart policy"),
    Step("inspect -f '{{json .HostConfig.RestartPolicy}}' up"),
    Step("update --restart no up made"),
    Step("restart -t 1 up"),
    Step("kill -s BOGUS up", says="nvalid signal"),
    Step("stop up nothing", says="o such container"),
    Step("wait up made"),
    Step("stop up"),
    Step("kill up", says="is not running"),
    Step("kill nothing", says="o such container"),
    Step("restart nothing", says="o such container"),
    Step("pause up", says="is not running"),
    Step("rename up down"),
    Step("rename down down"),
    Step("rename down made", says="is already in use by container"),
    Step("rename nothing else", says="o such container"),
    Step("rename down"),
    Step("ps -a -f exited=5 --format '{{.Names}}'"),
    Step("stats --no-stream --format '{{.Name}} {{.PIDs}} {{.CPUPerc}} {{.MemUsage}}' down"),
    Step("stats --no-stream nothing", says="o such container"),
)  # fmt: skip

END = (
    Step("rmi {registry}/box:1", says="must force"),
    Step("rm nothing", says="o such container"),
    Step("rm -f nothing"),
    Step("rm talks quiet"),
    Step("start made"),
    Step("wait made"),
    Step("rm -v made down"),
    Step(f"run -d --name up {BOX} /bin/busybox sleep 1000", form="none"),
    Step("rm up", says="ontainer"),
    Step("rm -f up"),
    Step("container prune -f", form="none"),
    Step("ps -aq"),
    Step("rmi {registry}/box:1", form="none"),
)

CONTAINERS = (*CREATE, *RUN, *END)
