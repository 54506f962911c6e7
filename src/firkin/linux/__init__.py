"""A thin layer above the kernel's system calls. Does I/O. Modules from `layer` upwards may import it.

`syscalls` one function for each call · `mounts` overlay and bind mounts · `idmap` id maps of user namespaces ·
`enter` moves the worker into its namespaces · `probe` facts of this machine · `machine` its platform · `beneath` paths
inside a root that must not lead out of it.
"""
