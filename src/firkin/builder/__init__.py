"""The builder: from a Dockerfile to an image. Does I/O."""
