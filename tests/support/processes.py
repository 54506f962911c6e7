"""Tells whether processes that are no children of this one still run."""


def is_running(pid: int) -> bool:
    """Return whether a process runs. One that has ended counts until its new parent has waited for it."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
