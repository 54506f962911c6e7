"""Deletes directories of containers and volumes, whoever owns the files in them. Does I/O."""

from __future__ import annotations

from firkin.containers.home.engine import Engine
from firkin.errors import ContainerError
from firkin.linux.folders import remove_tree


def remove_files(engine: Engine, path: str) -> None:
    """Delete a directory of a container or volume; in its namespaces, if some files are other ids'.

    Raises ContainerError.
    """
    try:
        remove_tree(path)
        return
    except PermissionError:
        pass
    except OSError as error:
        raise ContainerError(
            f"cannot remove {path}: {(error.strerror or '').lower()}", kind="failed", code="container-files"
        ) from error
    from firkin.containers.home.namespaces import within

    def work() -> str:
        remove_tree(path)
        return ""

    within(engine.backend(), work)
