"""The vocabulary of image-spec and distribution-spec: values, no I/O. Anybody may import it."""
