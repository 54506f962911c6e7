"""The outputs of a build: one file for each type, loaded when it is used, with its row here. Pure."""

# type: module, function of an Export (`built.py`) that returns a line about what it wrote, or "".
WRITERS = {
    "store": ("store", "keep"),
    "registry": ("registry", "push"),
    "oci": ("oci", "write"),
    "docker": ("docker", "write"),
    "tar": ("rootfs", "write_tar"),
    "local": ("rootfs", "write_directory"),
}
