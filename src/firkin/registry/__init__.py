"""Registries: the distribution protocol, its authentication and its transport. Does I/O. May import oci.

The rest of firkin uses `client.RegistryClient`; docs/dev/registry.md describes its behaviour.
"""
