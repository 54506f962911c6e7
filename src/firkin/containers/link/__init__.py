"""The way to a running container: start its monitor, connect to one, attach to its streams. Does I/O."""
