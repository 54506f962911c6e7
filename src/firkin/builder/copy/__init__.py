"""COPY and ADD over views: selected files, their owners, and their places in the destination. Does I/O."""
