"""Containers: create, start, watch and remove them, with their volumes and logs. Does I/O.

Values in, values out: nothing here knows the command line, the Python API or the Engine API, which are fronts over the
same functions. Contracts: docs/dev/container-state.md (what is on disk, and its transitions), docs/dev/monitor.md (the
process that each running container has).
"""
