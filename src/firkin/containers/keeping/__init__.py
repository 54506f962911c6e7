"""What a container needs kept for it: its image, layers and mounts, and what is left of it. Does I/O."""
