"""The process boundary: a request in, events and one last line out, as JSON lines. Does I/O.

`client` what a front does with a worker: two ways to start one, watching it, stopping it · `messages` the lines between
the two · `start` the fork, and what the process outside decides for it · `server` the worker itself · `python -m
firkin.worker` a worker that reads its request from standard input. docs/dev/events.md is the contract.
"""
