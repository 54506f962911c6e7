"""The build graph: operations, steps and their cache keys. Pure.

It knows neither Dockerfiles nor mounts; `dockerfile/` writes it, `solve/` executes it.
"""
