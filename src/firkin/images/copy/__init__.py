"""Copies images between registries, archives, layouts and the store, byte for byte. Does I/O.

    places      what a word of the user names: a transport, a path or a name
    ends        what a source and a target can do; one module for each transport implements them
    plan        which manifests of an index go, and in which order
    convert     the same image in other media types or with other compression
    copying     the copy itself: blobs side by side, manifests below, the name last

Nothing is unpacked, and a blob's bytes pass once from source to target, verified on their way.
"""
