"""The files inside a container, as others read and write them: beneath its root only. Does I/O."""
