"""Fakes for tests of firkin and of programs that use it. Does I/O."""
