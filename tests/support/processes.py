"""Whether processes that are nobody's children here still run."""


def is_running(pid: int) -> bool:
    """Say whether a process runs. One that has ended is seen until its new parent waits for it, which may take a while."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
