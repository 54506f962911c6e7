"""The engine: executes a graph over the store. Never imports the Dockerfile front end."""
