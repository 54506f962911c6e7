"""`firkin info`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from firkin.about.info import info_document
from firkin.about.machine import machine_document
from firkin.cli.command import Invocation
from firkin.cli.hints import COMMAND_LINE
from firkin.cli.options import COMMON, REGISTRY, Option
from firkin.cli.requests import settings_of
from firkin.cli.run import write_out
from firkin.cli.store import say
from firkin.cli.templated import print_document

USAGE = "[OPTIONS]"
ABOUT = (
    "Show what this machine offers for builds and containers: the ways in which RUN steps can be kept apart from it, "
    "what containers can be limited in, and for each that is not available what is missing and how to get it. The "
    "first lines are docker's."
)
OPTIONS = (
    Option(("--format", "-f"), "format", "text",
           "print `json`, or a template of docker's fields; `.Firkin` is what `--json` prints", "FORMAT"),
    Option(("--json",), "json", "flag", "print firkin's own facts as JSON", takes_value=False),
    *REGISTRY,
    *COMMON,
)  # fmt: skip
_FROM_TRIALS = ("json", "Driver", "Warnings", "Firkin", "range", "with", ".}")  # they may need what takes trials


def run(invocation: Invocation) -> int:
    """Probe, and print the facts. Raises StoreError, TemplateError."""
    arguments, ambient = invocation
    settings, format = settings_of(arguments, ambient), arguments.text("format")

    def machine() -> dict[str, Any]:
        return machine_document(settings, ambient, COMMAND_LINE)

    if arguments.flag("json"):
        import msgspec

        write_out(msgspec.json.format(msgspec.json.encode(machine()), indent=2).decode() + "\n")
        return 0
    whole = not format or any(word in format for word in _FROM_TRIALS)
    document = info_document(settings, ambient, machine if whole else None, debug=arguments.flag("debug"))
    if format:
        print_document(format, document)
        return 0
    write_out(_text(document))
    for warning in document["Warnings"]:
        say(f"WARNING: {warning}")
    return 0


def _text(info: Mapping[str, Any]) -> str:
    from firkin.render.units import binary_size

    client, own = info["ClientInfo"], info["Firkin"]
    lines = [
        f"Client: {client['Platform']['Name']}",
        f" Version:    {client['Version']}",
        f" Context:    {client['Context']}",
        f" Debug Mode: {str(client['Debug']).lower()}",
        "",
        "Server:",
        f" Containers: {info['Containers']}",
        f"  Running: {info['ContainersRunning']}",
        f"  Paused: {info['ContainersPaused']}",
        f"  Stopped: {info['ContainersStopped']}",
        f" Images: {info['Images']}",
        f" Server Version: {info['ServerVersion']}",
        f" Storage Driver: {info['Driver']}",
        *(f"  {name}: {value}" for name, value in info["DriverStatus"]),
        f" Cgroup Driver: {info['CgroupDriver']}",
        f" Cgroup Version: {info['CgroupVersion']}",
        *_list("Security Options", (option.removeprefix("name=") for option in info["SecurityOptions"])),
        f" Kernel Version: {info['KernelVersion']}",
        f" Operating System: {info['OperatingSystem']}",
        f" OSType: {info['OSType']}",
        f" Architecture: {info['Architecture']}",
        f" CPUs: {info['NCPU']}",
        f" Total Memory: {binary_size(info['MemTotal'])}",
        f" Name: {info['Name']}",
        f" Docker Root Dir: {info['DockerRootDir']}",
        f" Debug Mode: {str(info['Debug']).lower()}",
        *(f" {label}: {info[name]}" for label, name in _PROXIES if info[name]),
        f" Experimental: {str(info['ExperimentalBuild']).lower()}",
        *_list("Insecure Registries",
               (*info["RegistryConfig"]["IndexConfigs"], *info["RegistryConfig"]["InsecureRegistryCIDRs"])),
        *_list("Registry Mirrors", info["RegistryConfig"]["Mirrors"]),
        f" Live Restore Enabled: {str(info['LiveRestoreEnabled']).lower()}",
        *_own(own),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


_PROXIES = (("HTTP Proxy", "HttpProxy"), ("HTTPS Proxy", "HttpsProxy"), ("No Proxy", "NoProxy"))


def _list(heading: str, items: Iterable[str]) -> list[str]:
    """Return the lines of a list, none for an empty one."""
    lines = [f"  {item}" for item in items]
    return [f" {heading}:", *lines] if lines else []


def _own(facts: Mapping[str, Any]) -> Iterable[str]:
    """Yield what docker has no lines for."""
    from firkin.render.text import human_size

    known = facts["used_bytes"]
    used = "" if known is None else f"{human_size(known)} used (see `firkin du`), "
    yield f" Python: {facts['python']}"
    yield f" Store: {used}{human_size(facts['free_bytes'])} free"
    yield f" Builds run with: {facts['isolation']}"
    yield f" Steps share: {facts['shared']}"
    yield " Isolation:"
    for way in facts["ways"]:
        yield f"  {'yes' if way['available'] else 'no ':3}  {way['name']}"
        yield f"       {way['detail']}"
        if way["how"] and not way["available"]:
            yield f"       to get it: {way['how']}"
    yield from _of_containers(facts["containers"])


def _of_containers(facts: Mapping[str, Any]) -> Iterable[str]:
    """Yield what containers can be limited in; what many lack for one reason is told once."""
    driver = facts["cgroup_driver"]
    yield f" Control groups: {facts['cgroups']}{'' if driver == 'none' else f', made by {driver}'}"
    yield f" Containers are paused by {facts['pause']}"
    yield " Limits of containers:"
    there = [limit["what"] for limit in facts["limits"] if limit["available"]]
    if there:
        yield f"  yes  {', '.join(there)}"
    lacking: dict[tuple[str, str], list[str]] = {}
    for limit in facts["limits"]:
        if not limit["available"]:
            lacking.setdefault((limit["detail"], limit["how"]), []).append(limit["what"])
    for (detail, how), names in lacking.items():
        yield f"  no   {', '.join(names)}"
        yield f"       {detail}"
        if how:
            yield f"       to get it: {how}"
