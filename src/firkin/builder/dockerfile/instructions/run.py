"""RUN: a command whose changes become a layer. Pure.

Mirrors: buildkit dispatchRun, convert_runmount.go, convert_secrets.go, convert_ssh.go.
"""

from __future__ import annotations

from firkin.builder.dockerfile.flags import FlagSpec, MountSpec, check_mount, parse_flags, parse_mount
from firkin.builder.dockerfile.gotext import base_name, clean_path
from firkin.builder.dockerfile.instructions.commandline import CommandLine, parse_command_line, with_shell
from firkin.builder.dockerfile.instructions.transfer import check_path
from firkin.builder.dockerfile.lines import RawInstruction, parse_heredoc
from firkin.builder.dockerfile.state import FromSource, LowerContext, StageState
from firkin.builder.dockerfile.syntax import Instruction
from firkin.builder.dockerfile.words import Lexer, quote
from firkin.builder.graph.ops import (
    BindMount,
    CacheMount,
    Mount,
    SecretMount,
    SshMount,
    TmpfsMount,
)
from firkin.builder.graph.ops import Run as RunOp
from firkin.builder.graph.step import StepId
from firkin.errors import DockerfileError
from firkin.hints import Hint
from firkin.oci.run_settings import Network

_FLAGS = (FlagSpec("mount", "list"), FlagSpec("network"), FlagSpec("security"))
_HEREDOC_DIR = "/dev/pipes"  # where BuildKit puts a heredoc that begins with `#!`


class Run(Instruction, frozen=True):
    """RUN in shell or exec form; `mounts` are the values of --mount, unexpanded."""

    command: CommandLine
    mounts: tuple[str, ...] = ()
    network: Network = "default"
    insecure: bool = False


def parse(raw: RawInstruction) -> Run:
    """Parse `RUN [FLAGS] COMMAND`; raises DockerfileError."""
    flags = parse_flags(raw, _FLAGS)
    network: Network
    match flags.text("network") if flags.given("network") else "default":
        case "default":
            network = "default"
        case "none":
            network = "none"
        case "host":
            network = "host"
        case other:
            raise DockerfileError(
                f"invalid network mode: {quote(other)}",
                hints=("the modes are `default`, `none` and `host`",),
                span=raw.span,
            )
    security = flags.text("security") if flags.given("security") else "sandbox"
    if security not in ("sandbox", "insecure"):
        raise DockerfileError(
            f"security {quote(security)} is not valid",
            hints=("the modes are `sandbox` and `insecure`",),
            span=raw.span,
        )
    for text in flags.list("mount"):
        check_mount(text, raw.span)
    command = parse_command_line(raw.rest, raw.span)
    return Run(raw, command, flags.list("mount"), network, security == "insecure")


def lower(node: Run, state: StageState, context: LowerContext) -> None:
    """Emit the command as one step and layer. Raises DockerfileError."""
    words, files, summary = _command(node, state)
    if not words or not any(words):
        raise DockerfileError("RUN requires a command: its arguments are empty", span=node.span)
    title_lexer = Lexer(context.escape, raw_quotes=True, skip_unset_env=True)
    title = state.title_of(node.text.strip() + summary, context, title_lexer)
    inputs: list[StepId] = []
    mounts: list[Mount] = []
    for text, source in zip(node.mounts, state.sources or (None,) * len(node.mounts)):
        mounts.append(_mount(text, source, node, state, context, inputs, mounts))
    op = RunOp(
        words,
        tuple(f"{name}={value}" for name, value in state.env.items()),
        clean_path(state.working_dir),
        state.user,
        tuple(mounts),
        files,
        _network(node, context),
        _insecure(node, context),
        context.proxy_env,
        hostname=context.hostname,
    )
    state.add_step(op, tuple(inputs), title, node.text, node.span, context)
    values = {name: state.env.get(name, value or "") for name, value in state.build_args}
    arguments = [f"{name}={value}" for name, value in values.items()]
    prefix = [f"|{len(arguments)}", *arguments] if arguments else []
    state.record(f"RUN {' '.join([*prefix, *words])} # buildkit", layer=True)


def _command(node: Run, state: StageState) -> tuple[tuple[str, ...], tuple[tuple[str, str, int], ...], str]:
    """Return argv, the files that it needs, and the text about a heredoc for the title. Raises DockerfileError."""
    command, heredocs = node.command, node.raw.heredocs
    if not heredocs:
        return command.resolved(state), (), ""
    if command.exec_form or len(command.words) != 1:
        raise DockerfileError("RUN in exec form cannot take a heredoc", span=node.span)
    try:
        alone = parse_heredoc(command.words[0])
    except ValueError as error:
        raise DockerfileError(str(error), span=node.span) from None
    if alone is None:
        # the shell itself reads the heredocs
        text = command.words[0] + "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in heredocs)
        return with_shell(state, (text,)), (), ""
    body = heredocs[0].body
    lines = heredocs[0].content.strip().replace("\r\n", "\n").split("\n")
    summary = f" ({lines[0]}{'...' if len(lines) > 1 else ''})"
    if body.startswith("#!"):
        path = f"{_HEREDOC_DIR}/{heredocs[0].name}"
        return with_shell(state, (path,)), ((path, body, 0o755),), summary
    return with_shell(state, (body,)), (), summary


def _network(node: Run, context: LowerContext) -> Network:
    if node.network == "default":
        return context.options.network
    allowed = context.options.network == "host" or "network.host" in context.options.allow
    if node.network == "host" and not allowed:
        raise DockerfileError("network.host is not allowed", hints=(Hint.of("allow-host-network"),), span=node.span)
    return node.network


def _insecure(node: Run, context: LowerContext) -> bool:
    if node.insecure and "security.insecure" not in context.options.allow:
        raise DockerfileError("security.insecure is not allowed", hints=(Hint.of("allow-insecure"),), span=node.span)
    return node.insecure


def _mount(
    text: str,
    source: FromSource | None,
    node: Run,
    state: StageState,
    context: LowerContext,
    inputs: list[StepId],
    earlier: list[Mount],
) -> Mount:
    spec = parse_mount(text, lambda value: state.expand(value, node.span, context), node.span)
    if spec.type == "secret":
        return _secret(spec, node, state)
    if spec.type == "ssh":
        return _ssh(spec, node, state, sum(isinstance(mount, SshMount) for mount in earlier))
    target = _shown_at(spec, node, state)
    if spec.type == "tmpfs":
        return TmpfsMount(target, spec.size_bytes)
    number = _input(spec, source, node, state, context, inputs)
    if spec.type == "bind":
        return BindMount(target, number, clean_path(spec.source), spec.readonly)
    return _cache(spec, target, number, context)


def _shown_at(spec: MountSpec, node: Run, state: StageState) -> str:
    """Return the target of a bind, cache or tmpfs mount; raises DockerfileError for an invalid one."""
    target = _target(spec.target, state)
    check_path(target, node.span)
    if target == "/":
        raise DockerfileError(
            f"invalid mount target {quote(spec.target or target)}",
            hints=("it is the root: write a WORKDIR before, or another path",) if spec.target
            else ("give the mount a `target=`",),
            span=node.span,
        )
    return target


def _cache(spec: MountSpec, target: str, number: int, context: LowerContext) -> CacheMount:
    """Return a cache mount; `number` is the input with its initial contents, -1 for none."""
    path = clean_path(spec.source)
    mode, uid, gid = spec.mode, spec.uid, spec.gid
    if number >= 0 and (path != "/" or (mode, uid, gid) == (None, None, None)):
        mode, uid, gid = -1, 0, 0
    return CacheMount(
        target,
        f"{context.cache_namespace}/{spec.id or _cache_id(spec.target)}",
        spec.sharing or "shared",
        spec.readonly,
        number,
        path,
        0o755 if mode is None else mode,
        uid or 0,
        gid or 0,
    )


def _target(text: str, state: StageState) -> str:
    return clean_path(text if text.startswith("/") else f"{state.working_dir}/{text}")


def _cache_id(target: str) -> str:
    # path.Clean: a relative target stays relative, so `t` and `/t` are different caches
    return clean_path(target) if target.startswith("/") else clean_path(target)[1:] or "."


def _input(
    spec: MountSpec,
    source: FromSource | None,
    node: Run,
    state: StageState,
    context: LowerContext,
    inputs: list[StepId],
) -> int:
    """Return the number of the input of a bind or cache mount, -1 for none. Raises DockerfileError."""
    if not spec.from_:
        if spec.type == "cache":
            return -1
        step = context.main_context(state.platform)
    elif source is None or source.step is None:
        raise DockerfileError(
            f"cannot mount from stage {quote(spec.from_)} to {quote(spec.target)}, stage needs to be defined "
            "before current command",
            span=node.span,
        )
    elif source.is_scratch and spec.type == "cache":
        return -1
    else:
        step = source.step
    if step not in inputs:
        inputs.append(step)
    return inputs.index(step) + 1


def _secret(spec: MountSpec, node: Run, state: StageState) -> SecretMount:
    name = spec.source or spec.id or (base_name(spec.target) if spec.target else "")
    if not name:
        raise DockerfileError("one of source, target required", span=node.span)
    target = spec.target
    check_path(target, node.span)
    if not target and spec.env is None:
        target = f"/run/secrets/{base_name(name)}"
    return SecretMount(
        name,
        _target(target, state) if target else "",
        spec.env or "",
        spec.required,
        0o400 if spec.mode is None else spec.mode,
        spec.uid or 0,
        spec.gid or 0,
    )


def _ssh(spec: MountSpec, node: Run, state: StageState, number: int) -> SshMount:
    if spec.source:
        raise DockerfileError("ssh does not support source", span=node.span)
    check_path(spec.target, node.span)
    return SshMount(
        spec.id or "default",
        _target(spec.target, state) if spec.target else f"/run/buildkit/ssh_agent.{number}",
        spec.required,
        0o600 if spec.mode is None else spec.mode,
        spec.uid or 0,
        spec.gid or 0,
    )
