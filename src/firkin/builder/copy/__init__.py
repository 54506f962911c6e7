"""COPY and ADD over views: which files, whose, and where they go. Does I/O."""
