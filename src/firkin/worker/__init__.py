"""The worker process: it takes a request, and gives events and one last line, as JSON lines. Does I/O.

`client` how a front starts (in two ways), watches and stops a worker · `messages` the lines between the two · `start`
the fork, and what the process outside decides for it · `server` the worker itself · `python -m firkin.worker` a worker
that reads its request from standard input. docs/dev/events.md is the contract.
"""
