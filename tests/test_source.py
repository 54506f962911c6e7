"""The source keeps the rules of ARCHITECTURE.md: who imports what, who asks the environment, how fast it starts.

The tables at the top are the rules; an exception is a row with its reason.
"""

import ast
import os
import re
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.places import REPOSITORY

SOURCE = REPOSITORY / "src" / "firkin"

# Imports go only down this list, from the last row to the first; rooms in one row do not count as above one another.
ORDER = (
    ("errors", "source", "text", "decode"),
    ("events",),
    ("oci",),
    ("request",),
    ("graph",),
    ("dockerfile",),
    ("linux",),
    ("layer",),
    ("store",),
    ("registry",),
    ("context",),
    ("rootfs",),
    ("sandbox",),
    ("backend",),
    ("cache",),
    ("solve",),
    ("export", "images"),
    ("build",),
    ("check", "verify"),
    ("worker",),
    ("ambient", "keywords", "settings"),
    ("api",),
    ("aio", "library"),
    ("render",),
    ("cli",),
    ("__main__", "testing"),
)

# (who, whom): never, although the order would allow it.
BANNED = (
    ("solve", "dockerfile"),
    ("registry", "store"),
    ("sandbox", "rootfs"),
    ("context", "dockerfile"),
)
ONLY = {"render": {"render", "errors", "source", "text", "decode", "events"}}

# Modules and rooms that take and return values only, and what they must not import.
PURE = (
    "errors",
    "source",
    "text",
    "decode",
    "events",
    "oci",
    "request",
    "graph",
    "dockerfile",
    "layer.change",
    "layer.compare",
    "layer.entry",
    "registry.protocol",
    "registry.auth",
    "registry.url",
    "sandbox.spec",
    "backend",
    "cache.entry",
    "render.trace",
    "ambient",
)
# What pure modules may take from others all the same: types.
PURE_MAY_NAME = {
    ("backend", "firkin.linux.enter"): "NamespacePlan",
    ("backend", "firkin.linux.probe"): "HostFacts and what it is made of",
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
    "asyncio": "threads from solve/pools.py",
    "concurrent.futures": "threads from solve/pools.py",
    "http.client": "pycurl",
    "importlib.metadata": "the literal version",
    "logging": "events",
    "multiprocessing": "the worker",
    "pathlib": "os.path",
    "requests": "pycurl",
    "urllib.request": "pycurl",
    "urllib3": "pycurl",
}
HEAVY_ALLOWED: set[tuple[str, str]] = {("aio", "asyncio")}  # whoever imports it has an event loop already

# What a stand-alone program inside the sandbox may import: it starts in about 10 ms.
# `_signal` and `marshal` are part of the interpreter itself, `signal` costs an enum.
STANDALONE = {
    "sandbox.init": {"__future__", "os", "sys", "ctypes", "_signal", "marshal"},
    "sandbox.confine": {"__future__", "os", "sys", "ctypes"},
    "sandbox.listener": {"__future__", "os", "sys", "ctypes"},
    "sandbox.owners": {"__future__", "os", "sys", "ctypes"},
    "sandbox.image_root": {"__future__", "os"},
    "sandbox.carry": {"__future__", "os"},
    "linux.sparse": {"__future__", "os"},
    # The last two for an ssh agent on another file system only.
    "sandbox.fixtures": {"__future__", "os", "_socket", "select"},
}

# Ambient state enters at the rim only.
AMBIENT = {
    "os": {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv", "getcwd", "getcwdb", "getlogin"},
    "os.path": {"expanduser", "expandvars"},
    "sys": {"argv", "stdin", "stdout", "stderr"},
}
AMBIENT_ALLOWED = ("cli", "worker", "api", "__main__", "testing", "sandbox.init")

THREAD_STARTERS = {"Thread", "Timer", "start_new_thread", "ThreadPoolExecutor", "ThreadPool", "ThreadingHTTPServer"}
THREADS_ALLOWED = {
    "solve.pools": "the three pools",
    "linux.ending": "whoever waits beside work that cannot be asked to end",
    "layer.background": "an iterator that runs ahead, bounded",
    "layer.stream": "digest and deflate of one layer, both outside the interpreter lock",
}

PUBLIC = {"firkin": ["BuildRequest", "BuildResult", "FirkinError", "Output", "StoredImage", "__version__", "build", "build_async", "list_images",
               "pull", "push", "tag"]}  # fmt: skip

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
    "firkin.request",
    "firkin.worker",
    "firkin.build",
}
# … and when the command table has been imported.
NOT_FOR_MAIN = NOT_FOR_VERSION - {"typing"}
# The bar is 15 ms; the bound only catches what a busy machine cannot explain.
VERSION_BOUND_S = 0.060


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
    return module.partition(".")[0]


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
        room = room_of(module)
        for line, name in imports(module):
            if not name.startswith("firkin."):
                continue
            target = name.split(".")[1]
            if target not in RANK or RANK[target] > RANK[room]:
                wrong.append(f"{module}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_every_room_has_its_place() -> None:
    assert {room_of(module) for module in MODULES} - {""} <= set(RANK)


def test_rooms_that_never_meet() -> None:
    wrong = []
    for module in MODULES:
        room = room_of(module)
        for line, name in imports(module):
            if not name.startswith("firkin."):
                continue
            target = name.split(".")[1]
            if (room, target) in BANNED or (room in ONLY and target not in ONLY[room]):
                wrong.append(f"{module}:{line} imports {name}")
            standalone = name.removeprefix("firkin.sandbox.") != name and name.removeprefix("firkin.") in STANDALONE
            if standalone and module not in STANDALONE:  # `linux.sparse` is a library as well
                wrong.append(f"{module}:{line} imports the stand-alone program")
    assert not wrong, "\n".join(wrong)


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
    for module, allowed in STANDALONE.items():
        assert module in MODULES, f"{module} is gone; adjust the table"
        found = {name for _, name in imports(module, typing_too=False)}
        assert found <= allowed, f"{module} imports {sorted(found - allowed)}"


def test_ambient_state_enters_at_the_rim() -> None:
    flat = {name for names in AMBIENT.values() for name in names}
    wrong = []
    for module, tree in MODULES.items():
        if within(module, AMBIENT_ALLOWED):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in AMBIENT.get(ast.unparse(node.value), ()):
                wrong.append(f"{module}:{node.lineno} {ast.unparse(node)}")
            elif isinstance(node, ast.ImportFrom) and node.module in AMBIENT:
                wrong += [
                    f"{module}:{node.lineno} from {node.module} import {a.name}" for a in node.names if a.name in flat
                ]
    assert not wrong, "\n".join(wrong)


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


def test_package_loads_nothing() -> None:
    assert {name for name in loaded_after("import firkin") if name.startswith("firkin.")} == set()


def test_version_starts_fast() -> None:
    def seconds(*arguments: str) -> float:
        begin = time.perf_counter()
        subprocess.run(
            [sys.executable, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
        )
        return time.perf_counter() - begin

    seconds("-m", "firkin", "--version")  # compiled now
    pairs = [(seconds("-c", "pass"), seconds("-m", "firkin", "--version")) for _ in range(7)]
    assert statistics.median(firkin - bare for bare, firkin in pairs) < VERSION_BOUND_S


def test_the_function_is_not_hidden_by_the_module_of_its_name() -> None:
    code = "import firkin.build, firkin; assert callable(firkin.build); from firkin.build import run_build"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_rooms_are_on_the_map() -> None:
    page = (REPOSITORY / "ARCHITECTURE.md").read_text()
    table = page[page.index("| room |") : page.index("Contracts with versions")]
    named = [name for row in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)", row)]
    assert named == [room for rooms in ORDER for room in sorted(rooms) if room != "__main__"]
