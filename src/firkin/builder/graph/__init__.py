"""The build graph: operations, steps and their cache keys. Pure.

It knows neither Dockerfiles nor mounts; `builder/dockerfile/` writes it, `builder/solve/` executes it.
"""
