"""Threads: the pools that work runs in, and how a build is cancelled. Does I/O."""
