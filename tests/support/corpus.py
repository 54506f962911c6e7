"""Run the conformance corpus against firkin under an account: for the tests, and by hand.

`make conformance CASE='copy-*'` runs `python -m support.corpus --case 'copy-*'`.
"""

import argparse
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from support.accounts import Account, Firkin, make_firkin, remove_with_subordinate_ids
from support.bases import ensure_base
from support.places import REPOSITORY
from support.registry import running_registry

CORPUS = REPOSITORY / "tests" / "conformance"
TIMEOUT_S = 120
# No ordinary user can do this with any builder: the kernel lets nobody make devices in a user namespace.
NEEDS_ROOT = frozenset({"mknod"})
# Times are no part of a cache key, here or in the reference builder: a layer of another case may have other times.
NEEDS_NO_CACHE = frozenset({"mtime", "created"})


def load_runner() -> ModuleType:
    """Return the corpus's runner, which is a script and not a package."""
    if "firkin_conformance" not in sys.modules:
        spec = importlib.util.spec_from_file_location("firkin_conformance", CORPUS / "conformance.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["firkin_conformance"] = module
        spec.loader.exec_module(module)
    return sys.modules["firkin_conformance"]


def load_cases(globs: list[str], kind: str) -> list[Any]:
    """Return the cases whose names match and that an account of this kind can build."""
    found: list[Any] = load_runner().load_cases(CORPUS / "cases", globs, [], [])
    return [case for case in found if kind == "root" or not NEEDS_ROOT & set(case.tags)]


def make_runner(firkin: Firkin, keep: Path | None = None, options: tuple[str, ...] = ()) -> Any:
    """Return a Runner that builds cases with `firkin build` as the account."""
    module = load_runner()
    bases = module.Bases({"busybox": _readable_base(firkin)})

    def command(case: Any, workspace: Any, given: Any) -> list[str]:
        _hand_over(workspace.root.parent, firkin.account)
        arguments = module.builder_arguments(case, workspace, given)
        argv = firkin.command(
            "build",
            *options,
            *arguments,
            "-f",
            workspace.dockerfile,
            "--output",
            f"type=oci,dest={workspace.output}",
            workspace.context,
        )
        environment = [f"{key}={value}" for key, value in firkin.environment().items()]
        become = []
        if firkin.account.uid != os.geteuid():
            become = ["setpriv", f"--reuid={firkin.account.uid}", f"--regid={firkin.account.gid}", "--clear-groups"]
        return [*become, "env", "-i", *environment, *argv]

    return module.Runner(command, bases, TIMEOUT_S, keep)


def _readable_base(firkin: Firkin) -> Path:
    """Copy the busybox layout to where the account can read it, under one of its two tags: the runner needs one."""
    place = firkin.place / "busybox-layout"
    if not place.exists():
        shutil.copytree(ensure_base("busybox"), place)
        index = json.loads((place / "index.json").read_text())
        del index["manifests"][1:]
        (place / "index.json").write_text(json.dumps(index))
        firkin.account.give(place)
    return place


def _hand_over(place: Path, account: Account) -> None:
    """Give a case's private copy to the account; restore modes (chown clears set-user-id) and times."""
    if os.geteuid() == account.uid:
        return
    for directory, directories, files in os.walk(place):
        for name in (".", *directories, *files):
            path = os.path.join(directory, name)
            before = os.lstat(path)
            os.lchown(path, account.uid, account.gid)
            if before.st_mode & 0o7000 and not os.path.islink(path):
                os.chmod(path, before.st_mode & 0o7777)


def main() -> int:
    """Run the selected cases, print the runner's report, and return 1 when one failed."""
    parser = argparse.ArgumentParser(description="Run the conformance corpus against firkin.")
    parser.add_argument("--case", action="append", default=[], metavar="GLOB")
    parser.add_argument(
        "--as", dest="kind", choices=("root", "user", "plain"), default="root" if os.geteuid() == 0 else "user"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, metavar="DIR")
    parser.add_argument("--no-cache", action="store_true")
    parser.add_argument("--quiet", action="store_true")
    arguments = parser.parse_args()
    os.umask(0o022)
    module = load_runner()
    cases = load_cases(arguments.case, arguments.kind)
    if not cases:
        parser.error("no case is selected")
    place = Path(tempfile.mkdtemp(prefix="firkin-conformance-"))
    place.chmod(0o755)
    try:
        with running_registry() as registry:
            registry.seed_bases("busybox")
            firkin = make_firkin(arguments.kind, place / "firkin", registry.url)
            runner = make_runner(firkin, arguments.keep, ("--no-cache",) if arguments.no_cache else ())
            outcomes = module.run_all(cases, arguments.jobs, runner.check, arguments.quiet)
    finally:
        remove_with_subordinate_ids(place)
    failed = sum(bool(outcome.problems) for outcome in outcomes)
    print(f"{len(outcomes) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
