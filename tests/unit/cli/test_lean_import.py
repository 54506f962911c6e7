"""Modules of firkin are found with fewer steps, and are the same ones."""

import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest
from support.places import REPOSITORY

LEAN = REPOSITORY / "src/firkin/cli/lean_import.py"
BEGIN = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("lean_import", {str(LEAN)!r})
lean = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lean)
lean.install()
sys.path.insert(0, sys.argv[1])
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of the name that the finder knows, with bytecode that is fresh."""
    folder = tmp_path / "firkin"
    (folder / "sub").mkdir(parents=True)
    for name, text in {"__init__": "", "one": "a = 1\n", "sub/__init__": "b = 2\n", "sub/deep": "c = 3\n"}.items():
        path = folder / f"{name}.py"
        path.write_text(text)
        py_compile.compile(str(path))
    return folder


def run(package: Path, code: str, *options: str, **environment: str) -> str:
    words = [sys.executable, *options, "-c", BEGIN + code, str(package.parent)]
    usual = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    result = subprocess.run(words, env={**usual, **environment}, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def cached(package: Path, name: str) -> Path:
    return package / "__pycache__" / f"{name}.{sys.implementation.cache_tag}.pyc"


SHOW = """
import firkin.one, firkin.sub.deep
for module in (firkin.one, firkin.sub, firkin.sub.deep):
    spec = module.__spec__
    print(module.__name__, module.__file__, module.__cached__, module.__package__, getattr(module, "__path__", None),
          spec.origin, spec.has_location, spec.submodule_search_locations, spec.parent, spec.loader.get_filename())
    print(spec.loader.get_source(module.__name__), end="")
"""


def test_modules_look_as_usual(package: Path) -> None:
    usual = SHOW.join(("sys.meta_path.pop(0)\n", ""))
    assert run(package, SHOW) == run(package, usual)
    assert run(package, SHOW + "print(type(firkin.one.__loader__).__name__)").endswith("_Loader")
    assert run(package, usual + "print(type(firkin.one.__loader__).__name__)").endswith("SourceFileLoader")


def test_fresh_bytecode_is_taken_and_stale_is_not(package: Path) -> None:
    source = package / "one.py"
    times = source.stat()
    source.write_text("a = 7\n")  # as long as before
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert run(package, "import firkin.one; print(firkin.one.a)") == "1"
    os.utime(source, (1, 1))
    assert run(package, "import firkin.one; print(firkin.one.a)") == "7"
    source.write_text("a = 88\n")
    os.utime(source, (1, 1))
    assert run(package, "import firkin.one; print(firkin.one.a)") == "88"


def test_what_is_absent_or_of_another_kind_is_left_to_the_usual_loader(package: Path) -> None:
    code = "import firkin.one; print(firkin.one.a)"
    path = cached(package, "one")
    path.unlink()
    assert run(package, code) == "1"
    assert path.exists()  # it was written
    (package / "one.py").write_text("a = 5\n")
    py_compile.compile(str(package / "one.py"), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    (package / "one.py").write_text("a = 6\n")
    assert run(package, code) == "5"
    for damaged in (b"", b"x", path.read_bytes()[:12], bytes(100)):
        path.write_bytes(damaged)
        assert run(package, code) == "6"
    assert run(package, "try:\n    import firkin.none\nexcept ModuleNotFoundError as error:\n    print(error)") == (
        "No module named 'firkin.none'"
    )


def test_bytecode_elsewhere_is_left_to_the_usual_finder(package: Path, tmp_path: Path) -> None:
    code = "import firkin.one; print(type(firkin.one.__loader__).__name__)"
    assert run(package, code) == "_Loader"
    assert run(package, code, "-O") == "SourceFileLoader"
    assert run(package, code, PYTHONPYCACHEPREFIX=str(tmp_path / "cache")) == "SourceFileLoader"


def test_tracebacks_name_the_file(package: Path) -> None:
    source = package / "one.py"
    source.write_text("def fail():\n    raise ValueError\n")
    py_compile.compile(str(source), dfile="/elsewhere/one.py")
    code = "import firkin.one, traceback\ntry:\n    firkin.one.fail()\nexcept ValueError:\n    print(traceback.format_exc())"
    assert f'File "{source}", line 2' in run(package, code)
