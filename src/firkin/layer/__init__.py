"""Layers: changes of a file tree, to and from tar streams and directories. Does I/O."""
