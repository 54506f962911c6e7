"""Volumes: directories with a name that outlive containers. Does I/O. See docs/dev/container-state.md."""
