"""Which docker firkin behaves as. Pure.

Jobs ask for the version of the client and of the server to know what they may use. What firkin answers there is the
version whose image commands it follows; its own version stands beside it.
"""

ENGINE_VERSION = "28.2.2"
API_VERSION = "1.50"
MIN_API_VERSION = "1.24"
BUILDX_VERSION = "0.24.0"


def program_name(called: str) -> str:
    """Return the name that the command line goes by: `docker` if it was called so, else `firkin`."""
    return "docker" if called.rpartition("/")[2] == "docker" else "firkin"
