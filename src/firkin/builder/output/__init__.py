"""What becomes of a build: a file an output type, with its row here; it is loaded when it is reached. Pure."""

# type: module, function of an Export (`built.py`) that returns a line about what it wrote, or "".
WRITERS = {
    "store": ("store", "keep"),
    "registry": ("registry", "push"),
    "oci": ("oci", "write"),
    "docker": ("docker", "write"),
    "tar": ("rootfs", "write_tar"),
    "local": ("rootfs", "write_directory"),
}
