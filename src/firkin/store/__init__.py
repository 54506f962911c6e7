"""The store: blobs, unpacked trees, cache records and named images, shared by all firkin processes. Does I/O."""
