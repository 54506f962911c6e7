"""Registries: the distribution protocol, its authentication and its transport. Does I/O. May import oci.

`client.RegistryClient` is what the rest of firkin uses; docs/dev/registry.md tells how it behaves.
"""
