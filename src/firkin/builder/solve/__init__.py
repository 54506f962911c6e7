"""The engine: executes a graph over the store. Does I/O. Never imports the Dockerfile front end."""
