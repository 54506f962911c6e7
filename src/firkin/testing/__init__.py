"""Fakes for tests of firkin and of what is built on it. Does I/O."""
