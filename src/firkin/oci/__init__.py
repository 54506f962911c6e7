"""The vocabulary of image-spec and distribution-spec, as values. Pure. Anybody may import it."""
