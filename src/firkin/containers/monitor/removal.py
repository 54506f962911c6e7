"""What `--rm` asks for: the container goes when it has ended, and its anonymous volumes with it. Does I/O.

A part of the stand-alone program `monitor`; all parts share its global names. The steps, their order and the locks are
those of `containers/remove.py` and `leftovers.py`, so that whatever is left undone is done by the next command.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from firkin.containers.monitor.files import link_text, try_lock, unlink_if_there, wait_for_lock
    from firkin.containers.monitor.spawning import NEWUSER, write_maps
    from firkin.linux.folders import remove_tree
    from firkin.sandbox.init.kernel import libc

NEWNS = 0x00020000
MOST_DESCRIPTORS = 1 << 20


def remove_at_once(document: dict[str, Any]) -> int:
    """Let nobody find a container any more, if it has no volumes and there is nobody to wait for.

    Returns the descriptor of its lock, which `delete_files` wants; -1 if `remove_container` must do it.
    """
    paths = document["auto_remove"]
    if paths["volumes"]:
        return -1
    locks: list[int] = []
    try:
        for path in (f"{document['home']}/lock", paths["lock"], paths["references_lock"]):
            lock = try_lock(path)
            if lock < 0:
                return -1
            locks.append(lock)
        hide(document)
        unlink_if_there(paths["reference"])
        return locks.pop(0)
    except OSError:
        return -1
    finally:
        for lock in locks:
            os.close(lock)


def remove_container(document: dict[str, Any], told: int) -> None:
    """Remove a container; in a fork, as it waits for locks and deletes files.

    When nobody can find the container any more, the names of the volumes that went as well are written to `told`, each
    with a newline before it, and one newline for none; its files go afterwards. `auto_remove` of the launch document
    has the paths.
    """
    paths = document["auto_remove"]
    home = document["home"]
    held = wait_for_lock(f"{home}/lock")
    os.close(os.open(f"{home}/{paths['mark']}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    lock = wait_for_lock(paths["lock"])
    hide(document)
    os.close(lock)
    volumes = [name for name, directory in paths["volumes"] if release_volume(document, directory, name)]
    lock = wait_for_lock(paths["references_lock"])
    unlink_if_there(paths["reference"])
    os.close(lock)
    os.write(told, ("\n" + "\n".join(volumes)).encode())
    close_all_connections(held)
    delete_files(document, held)


def hide(document: dict[str, Any]) -> None:
    """Take a container's directory and its name away from it. Raises OSError."""
    paths = document["auto_remove"]
    os.rename(document["home"], paths["gone"])
    name = f"{paths['names']}/{document['name']}"
    if link_text(name) == document["id"]:
        os.unlink(name)


def close_all_connections(kept: int) -> None:
    """Close everything else: who waits for the end of a connection does not wait for this process."""
    os.closerange(3, kept)
    os.closerange(kept + 1, MOST_DESCRIPTORS)


def delete_files(document: dict[str, Any], held: int) -> None:
    """Delete what nobody finds any more, and give up its lock. Raises OSError."""
    remove_tree(os.path.dirname(document["socket"]))
    remove_all(document["auto_remove"]["gone"], document["maps"])
    os.close(held)


def release_volume(document: dict[str, Any], shelf: str, name: str) -> bool:
    """Release a volume; remove it if it was made for this container and nobody else mounts it. Say whether it went."""
    unlink_if_there(f"{shelf}/{name}/users/{document['id']}")
    if name not in document["auto_remove"]["anonymous"]:
        return False
    lock = wait_for_lock(f"{shelf}/.lock")
    gone = f"{shelf}/{document['auto_remove']['gone_volume']}{os.urandom(6).hex()}"
    try:
        if os.listdir(f"{shelf}/{name}/users"):
            return False
        os.rename(f"{shelf}/{name}", gone)
    except FileNotFoundError:
        return False
    finally:
        os.close(lock)
    remove_all(gone, document["maps"])
    return True


def remove_all(path: str, maps: Any) -> None:
    """Delete a directory; in a user namespace if some files belong to its other ids. Raises OSError."""
    try:
        remove_tree(path)
    except PermissionError:
        if maps is None:
            raise
        remove_in_namespace(path, maps)


def remove_in_namespace(path: str, maps: Any) -> None:
    """Delete a directory as root of a user namespace. Raises OSError."""
    ready, ready_end = os.pipe()
    go, go_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            libc.prctl(4, 1, 0, 0, 0)  # dumpable: who writes the maps must own the files of this process in /proc
            if libc.unshare(NEWUSER | NEWNS) == 0:
                os.write(ready_end, b"u")
                if os.read(go, 1) == b"g":
                    os.setresgid(0, 0, 0)
                    os.setresuid(0, 0, 0)
                    remove_tree(path)
                    code = 0
        finally:
            os._exit(code)
    os.close(ready_end)
    os.close(go)
    if os.read(ready, 1) == b"u" and not write_maps(pid, maps):
        os.write(go_end, b"g")
    os.close(go_end)
    os.close(ready)
    if os.waitpid(pid, 0)[1]:
        raise OSError(f"{path} cannot be deleted")
