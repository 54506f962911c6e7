"""Threads and their ending: the pools that work runs in, and the sign to stop. Does I/O."""
