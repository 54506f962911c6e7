"""Registries: the distribution protocol, its authentication and its transport. May import oci and request.

`client.RegistryClient` is what the rest of firkin uses; docs/dev/registry.md tells how it behaves.
"""
