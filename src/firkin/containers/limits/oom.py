"""Whether this process may lower the OOM score of a container. Does I/O. Spec: proc_pid_oom_score_adj(5)."""

from __future__ import annotations

import os

import msgspec

from firkin.containers.documents.config import HostConfig
from firkin.errors import ContainerError
from firkin.hints import Hint

_FILE = "/proc/self/oom_score_adj"


def possible_score(host: HostConfig, policy: str) -> tuple[HostConfig, tuple[str, ...]]:
    """Return the configuration without an OOM score that cannot be set, and warnings.

    Raises ContainerError (`unsupported`) with the missing fact, unless `policy` is "warn".
    """
    score = host.oom_score_adj
    if may_set(score):
        return host, ()
    fact = f"an OOM score of {score} needs CAP_SYS_RESOURCE on this machine"
    if policy == "refuse":
        raise ContainerError(
            f"{fact}, which this process does not have",
            kind="unsupported", code="limits", hints=(Hint.of("limits-warn"),),
        )  # fmt: skip
    return msgspec.structs.replace(host, oom_score_adj=0), (f"{fact}. The OOM score was discarded.",)


def may_set(score: int) -> bool:
    """Try a score with a child of this process, whose own score stays."""
    child = os.fork()
    if child == 0:
        result = 1
        try:
            with open(_FILE, "w") as file:
                file.write(str(score))
            result = 0
        finally:
            os._exit(result)
    return os.waitpid(child, 0)[1] == 0
