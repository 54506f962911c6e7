"""What the kernel offers, one thin layer above system calls. Does I/O. Modules from `layer` upwards may import it.

`syscalls` one function a call · `mounts` overlay and bind mounts · `idmap` id maps of user namespaces ·
`enter` the way of the worker into its namespaces · `probe` facts of this machine · `beneath` paths
inside a root that must not lead out of it.
"""
