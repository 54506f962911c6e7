"""The source keeps the rules of ARCHITECTURE.md: who imports what, who asks the environment, how fast it starts.

The tables at the top are the rules; an exception is a row with its reason.
"""

import ast
import importlib
import os
import re
import resource
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.places import REPOSITORY

SOURCE = REPOSITORY / "src" / "firkin"

# Imports go only down this list, from the last row to the first; rooms in one row do not count as above one another.
# A room is a module or a package, named from `firkin` on.
ORDER = (
    ("errors", "hints", "source", "text", "decode", "tuples"),
    ("events",),
    ("oci",),
    ("tasks",),
    ("linux",),
    ("layer",),
    ("store",),
    ("registry",),
    ("content",),
    ("rootfs",),
    ("sandbox",),
    ("backend",),
    ("images",),
    ("containers.monitor",),
    ("containers.documents",),
    ("containers.limits",),
    ("containers.planning",),
    ("containers.home",),
    ("containers.files",),
    ("containers.volumes",),
    ("containers.keeping",),
    ("containers.link",),
    ("containers",),
    ("builder.request",),
    ("builder.graph",),
    ("builder.dockerfile",),
    ("builder.context",),
    ("builder.cache",),
    ("builder.history",),
    ("builder.copy",),
    ("builder.solve",),
    ("builder.output",),
    ("builder.opening",),
    ("builder.bases",),
    ("builder.epoch",),
    ("builder.build",),
    ("builder.check", "builder.verify"),
    ("worker",),
    ("ambient", "settings"),
    ("request", "about"),
    ("api",),
    ("templates",),
    ("render",),
    ("cli",),
    ("__main__", "testing"),
)

# Walls: (who, whom), never, although the order would allow it.
BANNED = (
    ("builder.solve", "builder.dockerfile"),
    ("registry", "store"),
    ("sandbox", "rootfs"),
    ("builder.context", "builder.dockerfile"),
    # What is where in the store, and what a container may do once it runs, are two things.
    ("containers.home", "containers.planning"),
    ("containers.files", "containers.planning"),
    ("containers.volumes", "containers.planning"),
    ("containers.keeping", "containers.planning"),
    ("containers.keeping", "containers.limits"),
)
ONLY = {
    "containers.monitor": {"containers.monitor", "sandbox", "linux"},
    "containers.documents": {"containers.documents", "oci", "errors", "hints", "decode", "text", "tuples", "sandbox"},
    "render": {"render", "templates", "errors", "source", "text", "tuples", "decode", "events"},
    "templates": {"templates", "errors", "text", "tuples"},
}
# What a command on containers never needs before it meets something unusual.
NOT_FOR_CONTAINERS = {
    "datetime", "decimal", "hashlib", "json", "textwrap", "threading", "uuid", "socket", "subprocess", "msgspec.inspect",
    "firkin.builder.request", "firkin.cli.requests", "firkin.registry.settings", "firkin.settings",
    "firkin.sandbox.spawn", "firkin.sandbox.profiles", "firkin.sandbox.filters", "firkin.containers.keeping.mount_points",
    "firkin.containers.planning.seccomp", "firkin.store.database", "firkin.store.store", "enum", "re", "signal",
}  # fmt: skip
# What takes longer to load than all that `exec` does. What it needs of them has a lean form: `firkin.tuples`, `_signal`.
NOT_FOR_EXEC = NOT_FOR_CONTAINERS | {
    "collections", "contextlib", "dataclasses", "enum", "functools", "importlib", "inspect", "msgspec", "re", "signal",
    "struct", "typing", "warnings", "firkin.cli.docker_config", "firkin.cli.terminal", "firkin.containers.documents",
    "firkin.containers.home.home", "firkin.hints",
}  # fmt: skip
# What both ends of the monitor's socket speak: the one part of a stand-alone program that others import.
SPOKEN = ("containers.monitor.wire",)
# What the rooms of the builder may use of `images`; a room without a row may use nothing.
OF_IMAGES = {
    "builder.output": {"images.archive", "images.docker_archive", "images.oci_layout", "images.pack", "images.push",
                       "images.push_job"},
    "builder.verify": {"images.find"},
}
# Modules and rooms that take and return values only, and what they must not import.
PURE = (
    "errors",
    "hints",
    "source",
    "text",
    "decode",
    "tuples",
    "events",
    "oci",
    "builder.request",
    "builder.graph",
    "builder.dockerfile",
    "layer.limits",
    "store.rules",
    "store.schema",
    "store.pruned",
    "store.versions",
    "registry.settings",
    "content.format",
    "content.snapshot",
    "layer.change",
    "layer.compare",
    "layer.entry",
    "registry.protocol",
    "registry.auth",
    "registry.url",
    "sandbox.command_plan",
    "sandbox.emulated_plan",
    "sandbox.filters",
    "sandbox.calls",
    "sandbox.profile_files",
    "sandbox.profiles",
    "sandbox.default_profile",
    "sandbox.usual_filter",
    "sandbox.mounted_plan",
    "sandbox.operations",
    "sandbox.result",
    "containers.documents",
    "containers.planning",
    "containers.monitor.health",
    "containers.monitor.log_lines",
    "containers.monitor.wire",
    "containers.limits.device_program",
    "containers.limits.plan",
    "containers.limits.values",
    "backend",
    "builder.cache.entry",
    "builder.history.explain",
    "builder.history.files",
    "builder.history.ledger",
    "builder.history.log",
    "builder.history.record",
    "builder.history.redact",
    "render.trace",
    "templates",
    "ambient",
    "about.as_docker",
)
# What pure modules may take from others all the same: types.
PURE_MAY_NAME = {
    ("backend", "firkin.linux.enter"): "NamespacePlan",
    ("backend", "firkin.linux.probe"): "HostFacts and what it is made of",
    ("containers.limits.plan", "firkin.containers.limits.facts"): "CgroupFacts",
    ("containers.limits.values", "firkin.containers.limits.facts"): "CgroupFacts",
    ("containers.limits.plan", "firkin.containers.limits.scope"): "ScopeRequest",
    ("containers.limits.plan", "firkin.containers.limits.devices"): "DeviceFacts",
    ("containers.limits.values", "firkin.containers.limits.devices"): "DeviceFacts",
}
IMPURE_MODULES = {
    "ctypes",
    "os",
    "pycurl",
    "shutil",
    "socket",
    "sqlite3",
    "subprocess",
    "tempfile",
    "threading",
    "time",
}

# Too slow to start with, or wrong for the purpose; (module, reason or instead).
HEAVY = {
    "asyncio": "threads from tasks/pools.py",
    "concurrent.futures": "threads from tasks/pools.py",
    "http.client": "pycurl",
    "importlib.metadata": "the literal version",
    "logging": "events",
    "multiprocessing": "the worker",
    "pathlib": "os.path",
    "requests": "pycurl",
    "urllib.request": "pycurl",
    "urllib3": "pycurl",
}
HEAVY_ALLOWED: set[tuple[str, str]] = {("api.aio", "asyncio")}  # whoever imports it has an event loop already

# What a stand-alone program inside the sandbox may import: it starts in about 10 ms.
# `_signal` and `marshal` are part of the interpreter itself, `signal` costs an enum.
STANDALONE = {
    "sandbox.operations": {"__future__"},
    "sandbox.init.kernel": {"__future__", "os", "ctypes"},
    "sandbox.init.image_root": {"__future__", "os"},
    "sandbox.init.mount_calls": {"__future__", "os", "sys", "ctypes"},
    "sandbox.init.real_mounts": {"__future__", "os", "sys", "ctypes"},
    "sandbox.init.confine": {"__future__", "os", "sys", "ctypes"},
    "sandbox.init.listener": {"__future__", "os", "sys", "ctypes"},
    "sandbox.init.owners": {"__future__", "os", "sys", "ctypes"},
    "sandbox.init.command": {"__future__", "os", "ctypes", "_signal"},
    # Sockets for commands only of which somebody wants a descriptor.
    "sandbox.init.supervisor": {"__future__", "os", "sys", "_socket"},
    "sandbox.init.main": {"__future__", "os", "ctypes", "_signal", "_socket"},
    "oci.users": {"__future__"},
    "sandbox.init.container_mounts": {"__future__", "os", "sys", "ctypes"},
    # Sockets for a terminal only.
    "sandbox.init.contain": {"__future__", "os", "sys", "ctypes", "_signal", "_socket"},
    "sandbox.init.reaper": {"__future__", "os", "_signal"},
    "linux.sparse": {"__future__", "os"},
    "linux.cgroups": {"__future__", "os", "select", "ctypes"},
    "linux.slim_ctypes": {"_ctypes"},
    "sandbox.init.carry": {"__future__", "os"},
    # The last two for an ssh agent on another file system only.
    "sandbox.init.emulated_mounts": {"__future__", "os", "_socket", "select"},
    # The monitor beside each running container; zlib in a fork that compresses a log.
    "containers.monitor.wire": {"__future__", "_json"},
    "containers.monitor.clock": {"__future__", "time"},
    "containers.monitor.loop": {"__future__", "os", "select", "time"},
    "containers.monitor.files": {"__future__", "os", "ctypes"},
    "containers.monitor.notes": {"__future__", "os", "sys", "time"},
    "containers.monitor.log_lines": {"__future__"},
    "containers.monitor.log_files": {"__future__", "os", "time", "zlib"},
    "containers.monitor.connection": {"__future__"},
    "containers.monitor.spawning": {"__future__", "os", "sys", "ctypes", "_signal", "_socket"},
    "containers.monitor.streams": {"__future__", "os"},
    "containers.monitor.health": {"__future__"},
    "containers.monitor.execs": {"__future__", "os", "time", "_signal"},
    "containers.monitor.probing": {"__future__", "time"},
    "containers.monitor.removal": {"__future__", "os"},
    "containers.monitor.limits": {"__future__", "os"},
    "containers.monitor.life": {"__future__", "os", "time", "_signal"},
    "containers.monitor.requests": {"__future__", "os"},
    "containers.monitor.serving": {"__future__", "marshal", "os", "_signal", "_socket"},
    "linux.folders": {"__future__", "errno", "os", "stat"},
}

# Ambient state enters at the rim only, here, and travels as fields from there on.
AMBIENT = {
    "os": {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv", "getcwd", "getcwdb", "getlogin"},
    "os.path": {"expanduser", "expandvars"},
    "sys": {"argv", "stdin", "stdout", "stderr"},
}
AMBIENT_ALLOWED = {
    "api": "reads the caller's surroundings once a call",
    "cli": "reads those of its own process once",
    "sandbox.init.contain": "checks that the command's working directory is in its root",
    "worker.client": "hands the environment on to the worker that it spawns",
}

THREAD_STARTERS = {"Thread", "Timer", "start_new_thread", "ThreadPoolExecutor", "ThreadPool", "ThreadingHTTPServer"}
THREADS_ALLOWED = {
    "tasks.pools": "the three pools",
    "linux.ending": "whoever waits beside work that cannot be asked to end",
    "layer.background": "an iterator that runs ahead, bounded",
    "layer.stream": "digest and deflate of one layer, both outside the interpreter lock",
}

PUBLIC = {"firkin": ["BuildRequest", "BuildResult", "Client", "CommandFailed", "ContainerError", "FirkinError", "ImageNotFound",
                     "NotFound", "Output", "StoredImage", "__version__", "build", "build_async", "connect",
                     "list_images", "pull", "push", "tag"]}  # fmt: skip

# What texts below the fronts may name of options and commands, all of it the same for everybody:
# (module or room, pattern) -> why.
FRONT_WORDS = {
    ("backend", "--privileged|--cap-add|--security-opt|--user|--add-sub[ug]ids"): "options of docker run and usermod",
    ("builder.copy", "--link|--parents|--exclude|--chown"): "flags of COPY and ADD",
    ("builder.dockerfile", "--[a-z]+"): "flags of instructions",
    ("builder.graph", "--[a-z]+"): "flags of instructions",
    ("builder.cache.entry", "firkin cache"): "a comment in history, the same whoever builds",
    ("containers.limits", "--privileged|firkin container"): "an option of docker run; the description of a scope",
    ("containers.service", "--[a-z-]+|firkin [a-z]+"): "the unit calls the command line; options of systemctl",
    ("images.archive_reader", "firkin push"): "only the executor reads archives, and it has no command for this",
    ("builder.history", "--no-cache"): "the flag of the build that is explained, as in a step's output",
    ("images.joining", "--amend"): "docker's words, which scripts look for",
    ("builder.solve", "--no-cache"): "in a step's output, which every front passes on as bytes",
    ("sandbox.emulated_plan", "--network"): "a flag of RUN",
    ("rootfs.inplace", "firkin any"): "no command",
    ("store", "--no-cache|firkin knows|firkin took"): "a comment of SQL; no commands",
}

# Modules that must not be loaded when `firkin --version` ends.
NOT_FOR_VERSION = {
    "argparse",
    "ctypes",
    "dataclasses",
    "dulwich",
    "inspect",
    "isal",
    "json",
    "msgspec",
    "pathlib",
    "pycurl",
    "re",
    "rich",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "subprocess",
    "tempfile",
    "threading",
    "typing",
    "zstandard",
    "firkin.errors",
    "firkin.events",
    "firkin.builder.request",
    "firkin.worker",
    "firkin.builder.build",
}
# … and when the command table has been imported.
NOT_FOR_MAIN = NOT_FOR_VERSION - {"typing"}
# The bar is 15 ms; the bound only catches what a busy machine cannot explain.
VERSION_BOUND_S = 0.060

# Functions with more paths than this stand here with a reason: module: (why, functions).
MOST_PATHS = 12
COMPLEX: dict[str, tuple[str, str]] = {}


def module_name(path: Path) -> str:
    """Return the dotted name below `firkin`, "" for the package itself."""
    parts = list(path.relative_to(SOURCE).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


MODULES = {module_name(path): ast.parse(path.read_text(), str(path)) for path in sorted(SOURCE.rglob("*.py"))}
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
PATHS = {module_name(path): path for path in SOURCE.rglob("*.py")}


def room_of(module: str) -> str:
    """Return the room that a module is in, "" for a package that only holds rooms."""
    parts = module.split(".")
    while parts and ".".join(parts) not in RANK:
        parts.pop()
    return ".".join(parts)


def within(module: str, places: tuple[str, ...] | set[str]) -> bool:
    """Tell whether a module is one of the places or lies in one."""
    return any(module == place or module.startswith(place + ".") for place in places)


def imports(module: str, *, typing_too: bool = True) -> Iterator[tuple[int, str]]:
    """Yield line and absolute name of every import, those inside functions as well."""
    package = ["firkin", *module.split(".")] if module else ["firkin"]
    if PATHS[module].name != "__init__.py":
        package.pop()

    def walk(node: ast.AST) -> Iterator[tuple[int, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING" and not typing_too:
                for other in child.orelse:
                    yield from walk(other)
            elif isinstance(child, ast.Import):
                for alias in child.names:
                    yield child.lineno, alias.name
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    base = ".".join([*package[: len(package) - child.level + 1], *([base] if base else [])])
                for alias in child.names:
                    # `from firkin.oci import digest` names a module, `from os import fsdecode` does not.
                    full = f"{base}.{alias.name}"
                    known = full.removeprefix("firkin.") in MODULES if base.startswith("firkin") else False
                    yield child.lineno, full if known else base
            else:
                yield from walk(child)

    yield from walk(MODULES[module])


def test_imports_go_down_only() -> None:
    wrong = []
    for module in MODULES:
        if not module:
            continue  # the package's own names load lazily
        for line, name in imports(module):
            if not name.startswith("firkin."):
                continue
            room, target = room_of(module), room_of(name.removeprefix("firkin."))
            if target not in RANK or RANK[target] > RANK[room]:
                wrong.append(f"{module}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_every_room_has_its_place() -> None:
    without = {module for module in MODULES if module and not room_of(module)}
    assert {module for module in without if not any(room.startswith(f"{module}.") for room in RANK)} == set()


def test_rooms_that_never_meet() -> None:
    wrong = []
    for module in MODULES:
        room = room_of(module)
        for line, name in imports(module):
            if not name.startswith("firkin."):
                continue
            whole = name.removeprefix("firkin.")
            target = room_of(whole)
            images = target == "images" and within(room, ("builder",)) and whole not in OF_IMAGES.get(room, ())
            meets = within(target, ("containers",)) and within(room, ("builder", "worker"))
            if (room, target) in BANNED or (room in ONLY and target not in ONLY[room]) or images or meets:
                wrong.append(f"{module}:{line} imports {name}")
            alone = [program for program in ("sandbox.init", "containers.monitor") if within(whole, (program,))]
            if alone and not within(module, ("sandbox.init", "containers.monitor")) and not within(whole, SPOKEN):
                wrong.append(f"{module}:{line} imports the stand-alone program")
    assert not wrong, "\n".join(wrong)


def test_modules_form_no_cycles() -> None:
    graph = {
        module: {
            name.removeprefix("firkin.") for _, name in imports(module) if name.removeprefix("firkin.") in MODULES
        } - {module}
        for module in MODULES
        if module
    }
    assert cycles_of({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [frozenset({"b", "c"})]  # it finds one
    assert cycles_of(graph) == []


def cycles_of(graph: dict[str, set[str]]) -> list[frozenset[str]]:
    """Return the sets of modules that can reach each other. Tarjan's strongly connected components."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[frozenset[str]] = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        stack.append(module)
        for other in graph.get(module, ()):
            if other not in number:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in stack:
                lowest[module] = min(lowest[module], number[other])
        if lowest[module] == number[module]:
            position = stack.index(module)
            if len(stack) - position > 1:
                found.append(frozenset(stack[position:]))
            del stack[position:]

    for module in graph:
        if module not in number:
            visit(module)
    return found


def test_pure_modules_do_no_io() -> None:
    wrong = []
    for module in MODULES:
        if not within(module, PURE):
            continue
        for line, name in imports(module, typing_too=False):
            if name.partition(".")[0] in IMPURE_MODULES:
                wrong.append(f"{module}:{line} imports {name}")
            elif (
                name.startswith("firkin.")
                and not within(name.removeprefix("firkin."), PURE)
                and (module, name) not in PURE_MAY_NAME
            ):
                wrong.append(f"{module}:{line} imports {name}, which does I/O")
    assert not wrong, "\n".join(wrong)


def test_heavy_modules_are_not_imported() -> None:
    wrong = []
    for module in MODULES:
        for line, name in imports(module, typing_too=False):
            for heavy, instead in HEAVY.items():
                if (name == heavy or name.startswith(heavy + ".")) and (module, heavy) not in HEAVY_ALLOWED:
                    wrong.append(f"{module}:{line} imports {name}; instead: {instead}")
    assert not wrong, "\n".join(wrong)


def test_standalone_programs_import_next_to_nothing() -> None:
    programs = ("sandbox.init", "containers.monitor")
    parts = {module for module in MODULES if within(module, programs) and module not in programs}
    assert parts - set(STANDALONE) == set(), "these parts have no row"
    for module, allowed in STANDALONE.items():
        assert module in MODULES, f"{module} is gone; adjust the table"
        found = {name for _, name in imports(module, typing_too=False)}
        assert found <= allowed, f"{module} imports {sorted(found - allowed)}"


def test_ambient_state_enters_at_the_rim() -> None:
    flat = {name for names in AMBIENT.values() for name in names}
    found = []
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in AMBIENT.get(ast.unparse(node.value), ()):
                found.append((module, f"{module}:{node.lineno} {ast.unparse(node)}"))
            elif isinstance(node, ast.ImportFrom) and node.module in AMBIENT:
                found += [
                    (module, f"{module}:{node.lineno} from {node.module} import {a.name}")
                    for a in node.names
                    if a.name in flat
                ]
    wrong = [text for module, text in found if not within(module, set(AMBIENT_ALLOWED))]
    assert not wrong, "\n".join(wrong)
    unused = [place for place in AMBIENT_ALLOWED if not any(within(module, {place}) for module, _ in found)]
    assert not unused, "these rows allow nothing"


def test_threads_start_in_one_place() -> None:
    wrong = []
    for module, tree in MODULES.items():
        if module in THREADS_ALLOWED or within(module, ("testing",)):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func).rpartition(".")[2]
                if name in THREAD_STARTERS:
                    wrong.append(f"{module}:{node.lineno} {ast.unparse(node.func)}")
    assert not wrong, "\n".join(wrong)


def texts_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and value of every string in the code, docstrings left out."""
    docs = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.lineno, node.value


def test_texts_below_the_fronts_name_no_option_of_one() -> None:
    """What a front has an option, an argument or a command for is a Hint, which each puts into its own words."""
    words = re.compile(r"(?<![\w-])--[a-z][a-z-]+|(?<=`)-[a-zA-Z](?=[ `])|\bfirkin [a-z]+\b")
    found = [
        (module, line, word)
        for module, tree in MODULES.items()
        if module and RANK.get(room_of(module), 0) <= RANK["worker"]
        for line, text in texts_of(tree)
        for word in words.findall(text)
    ]
    used = {row: [hit for hit in found if within(hit[0], (row[0],)) and re.fullmatch(row[1], hit[2])] for row in FRONT_WORDS}
    allowed = {hit for hits in used.values() for hit in hits}
    assert [f"{module}:{line} names `{word}`" for module, line, word in found if (module, line, word) not in allowed] == []
    assert [row for row, hits in used.items() if not hits] == [], "these rows have nothing to excuse"


def test_hints_have_the_values_that_their_texts_name() -> None:
    from firkin.cli.hints import COMMAND_LINE

    made: dict[str, set[str]] = defaultdict(set)
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Hint.of":
                kind = ast.literal_eval(node.args[0])
                made[kind].add(f"{module} {' '.join(sorted(str(word.arg) for word in node.keywords))}")
    wanted = {kind: " ".join(sorted(set(re.findall(r"{(\w+)}", text)))) for kind, text in COMMAND_LINE.items()}
    assert set(made) == set(wanted)
    assert [(kind, place) for kind, places in made.items() for place in places
            if place.partition(" ")[2] != wanted[kind]] == []  # fmt: skip


def test_structs_are_decoded_in_one_place() -> None:
    """Elsewhere two threads could begin to at once, which msgspec does not survive (`firkin.decode`)."""
    wrong = []
    for module, tree in MODULES.items():
        if module == "decode":
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            typed = len(node.args) > 1 or any(word.arg == "type" for word in node.keywords)
            if name.endswith(".Decoder") or (name in ("msgspec.json.decode", "msgspec.msgpack.decode") and typed):
                wrong.append(f"{module}:{node.lineno} {name}")
            elif name == "msgspec.convert":
                wrong.append(f"{module}:{node.lineno} {name}")
    assert not wrong, "\n".join(wrong)


def test_every_module_says_what_it_is_for() -> None:
    assert [module for module, tree in MODULES.items() if tree.body and not ast.get_docstring(tree)] == []


def test_every_module_says_whether_it_does_io() -> None:
    """Its first paragraph has one of two sentences: "Pure." or "Does I/O."."""
    wrong = []
    for module, tree in MODULES.items():
        first = " ".join((ast.get_docstring(tree) or "").partition("\n\n")[0].split())
        said = re.findall(r"(?<![\w/`])(?:Pure|Does I/O)\.(?= |$)", first)
        if tree.body and (len(said) != 1 or (within(module, PURE) and said != ["Pure."])):
            wrong.append(f"{module}: {first}")
    assert not wrong, "\n".join(wrong)


def public_functions(body: list[ast.stmt], inside: tuple[str, ...] = ()) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield qualified name and node of the functions and methods that others may call."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, (*inside, node.name))
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield ".".join((*inside, node.name)), node


def raised_by(node: ast.AST, caught: str = "") -> Iterator[str]:
    """Yield what `raise X(...)` in a function's own body names, but for what the function catches itself."""
    for name, value in ast.iter_fields(node):
        here = caught
        if isinstance(node, ast.Try) and name == "body":
            here += " ".join(ast.unparse(handler.type) for handler in node.handlers if handler.type is not None)
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
                continue
            if isinstance(child, ast.Raise) and isinstance(child.exc, ast.Call):
                what = ast.unparse(child.exc.func).rpartition(".")[2]
                if what not in here and what not in ("NotImplementedError", "AssertionError"):
                    yield what
            elif isinstance(child, ast.AST):
                yield from raised_by(child, here)


def test_public_functions_say_what_they_raise() -> None:
    silent = []
    for module, tree in MODULES.items():
        for name, node in public_functions(tree.body):
            told = ast.get_docstring(node) or ""
            raised = set(raised_by(node))
            if raised and not re.search(r"\b[Rr]aises?\b", told) and not any(what in told for what in raised):
                silent.append(f"{module}:{node.lineno} {name} raises {', '.join(sorted(raised))}")
    assert not silent, "\n".join(silent)


@pytest.mark.parametrize("package", PUBLIC)
def test_public_names(package: str) -> None:
    code = (
        f"import {package} as package; print(*sorted(package.__all__));"
        "[getattr(package, name) for name in package.__all__]"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == sorted(PUBLIC[package])


def error_codes() -> dict[str, set[str]]:
    """Return every error code with the classes that use it."""
    codes: dict[str, set[str]] = defaultdict(set)
    for tree in MODULES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                for statement in node.body:
                    if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "default_code":
                        codes[ast.literal_eval(statement.value)].add(node.name)
            elif isinstance(node, ast.Call) and _is_error(ast.unparse(node.func)):
                for keyword in node.keywords:
                    if keyword.arg == "code" and isinstance(keyword.value, ast.Constant) and keyword.value.value:
                        codes[str(keyword.value.value)].add(ast.unparse(node.func).rpartition(".")[2])
    return codes


def _is_error(name: str) -> bool:
    return re.fullmatch(r"(?:\w+\.)*(?:\w+Error|StepFailed|Cancelled)", name) is not None


def test_error_codes_belong_to_one_class() -> None:
    codes = error_codes()
    assert "dockerfile" in codes  # the search finds something
    assert {code: classes for code, classes in codes.items() if len(classes) > 1} == {}
    assert [code for code in codes if not re.fullmatch(r"[a-z][a-z0-9]*(?:[-.][a-z0-9]+)*", code)] == []


def loaded_after(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after running some code."""
    report = "import sys; sys.stderr.write('\\n#modules ' + ' '.join(sys.modules))"
    script = f"{code}\n{report}"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    bare = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True)
    return _modules(result.stderr) - _modules(bare.stderr)


def _modules(output: str) -> set[str]:
    return set(output.rpartition("#modules ")[2].split())


def test_version_loads_next_to_nothing() -> None:
    loaded = loaded_after(
        "import sys; sys.argv = ['firkin', '--version']\n"
        "from firkin.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
    )
    assert "firkin.cli.main" in loaded
    assert loaded & NOT_FOR_VERSION == set()


def test_command_table_loads_next_to_nothing() -> None:
    loaded = loaded_after("import firkin.cli.main")
    assert loaded & NOT_FOR_MAIN == set()


def test_commands_of_the_store_load_no_registry() -> None:
    """libcurl, TLS and credentials take as long to load as all the rest of a command that lists or names images."""
    modules = ("images", "inspect", "history", "tag", "rmi", "system_df", "image_prune", "builds_ls")
    loaded = loaded_after("\n".join(f"import firkin.cli.commands.{name}" for name in modules))
    assert "firkin.store.store" in loaded
    assert {name for name in loaded if name.split(".")[0] == "pycurl" or name == "firkin.registry.client"} == set()


@pytest.mark.parametrize(("name", "more"), [
    ("run", ("cli.containers.running", "containers.link.launch")), ("exec", ()), ("start", ("containers.link.launch",)),
    ("stop", ()), ("kill", ()), ("wait", ()), ("ps", ()), ("logs", ()), ("version", ()),
])  # fmt: skip
def test_a_command_on_containers_loads_little(name: str, more: tuple[str, ...]) -> None:
    """Loading is most of what a start takes. What these would load for nothing took a third of it."""
    modules = ("cli.run", f"cli.commands.{name}", *more)
    loaded = loaded_after("\n".join(f"import firkin.{module}" for module in modules))
    assert f"firkin.cli.commands.{name}" in loaded
    assert loaded & NOT_FOR_CONTAINERS == set()


def test_exec_loads_next_to_nothing() -> None:
    """Besides the interpreter's own start, loading is all that an exec takes here."""
    loaded = loaded_after(
        "import firkin.cli.main, firkin.cli.run, firkin.cli.commands.exec, firkin.cli.containers.attaching\n"
        "from firkin.containers.opening import open_engine\n"
        "open_engine('/nowhere').finder.runtime_base\n"
    )
    assert "firkin.cli.containers.session" in loaded
    assert loaded & NOT_FOR_EXEC == set()


def test_package_loads_nothing() -> None:
    assert {name for name in loaded_after("import firkin") if name.startswith("firkin.")} == set()


def test_version_starts_fast() -> None:
    def seconds(*arguments: str) -> float:
        """Return the time of the processor, which depends little on what else the machine does."""
        begin = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
        )
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        return end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime

    seconds("-m", "firkin", "--version")  # compiled now
    pairs = [(seconds("-c", "pass"), seconds("-m", "firkin", "--version")) for _ in range(7)]
    assert statistics.median(firkin - bare for bare, firkin in pairs) < VERSION_BOUND_S


def test_no_module_hides_a_public_name() -> None:
    """The import system sets a module as an attribute of its package, whatever had the name before."""
    for package, names in PUBLIC.items():
        below = package.removeprefix("firkin").lstrip(".")
        assert {f"{below}.{name}".lstrip(".") for name in names} & set(MODULES) == set()


def test_the_rooms_are_on_the_map() -> None:
    page = (REPOSITORY / "ARCHITECTURE.md").read_text()
    table = page[page.index("| room |") : page.index("Contracts with versions")]
    rows = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`([\w.]+)", row)]
    assert named == [room for rooms in ORDER for room in sorted(rooms) if room != "__main__"]


def functions() -> Iterator[tuple[str, str, ast.AST]]:
    """Yield module, qualified name and node of every function and method."""

    def walk(node: ast.AST, inside: tuple[str, ...]) -> Iterator[tuple[str, ast.AST]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                if not isinstance(child, ast.ClassDef):
                    yield ".".join((*inside, child.name)), child
                yield from walk(child, (*inside, child.name))
            else:
                yield from walk(child, inside)

    for module, tree in MODULES.items():
        yield from ((module, name, node) for name, node in walk(tree, ()))


def complexity(node: ast.AST) -> int:
    """Return the number of paths through a function, those of functions inside it and boolean operators counted.

    Mirrors: radon's cyclomatic complexity.
    """
    paths = 1
    for child in ast.walk(node):
        if isinstance(child, (ast.If, ast.IfExp, ast.For, ast.While, ast.ExceptHandler, ast.Assert)):
            paths += 1
        elif isinstance(child, ast.BoolOp):
            paths += len(child.values) - 1
        elif isinstance(child, ast.comprehension):
            paths += 1 + len(child.ifs)
        elif isinstance(child, ast.match_case):
            paths += not (isinstance(child.pattern, ast.MatchAs) and child.pattern.pattern is None)
    return paths


def test_functions_are_simple() -> None:
    """A function with more than 12 paths needs a reason in COMPLEX."""
    assert complexity(ast.parse("def f(a):\n    if a and a:\n        return [b for b in a if b]")) == 5  # it counts
    complex_ones = {
        (module, name): paths for module, name, node in functions() if (paths := complexity(node)) > MOST_PATHS
    }
    known = {(module, name) for module, (_, names) in COMPLEX.items() for name in names.split()}
    assert {key: paths for key, paths in complex_ones.items() if key not in known} == {}
    assert known - set(complex_ones) == set(), "these rows have nothing to excuse"
    assert [module for module, (reason, names) in COMPLEX.items() if len(reason) < 8 or not names] == []


def test_what_scripts_import_is_there() -> None:
    """No other test runs them: what is renamed in the source or in tests/support would be missed there."""
    wrong = []
    for path in sorted(file for folder in ("bench", "images") for file in (REPOSITORY / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in ("firkin", "support"):
                module = importlib.import_module(str(node.module))
                wrong += [f"{path.name}: {node.module}.{a.name}" for a in node.names if not hasattr(module, a.name)]
    assert not wrong, "\n".join(wrong)
