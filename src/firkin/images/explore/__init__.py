"""The files of an image, read where its layers are, without unpacking them. Does I/O.

    session    a store, a registry for what is not in it, and the images that are open: `Session.open(name)`
    layers     one layer: its index (names and attributes), and its tar (contents)
    files      the layers of an image as one tree: look up, list, walk, read
    content    contents of files, out of the tar of a layer, in one pass
    extract    files to a directory, or as a tar

A layer is read from its registry at most once, and only when it is needed: its index and its blob are kept in the
store. A look-up begins at the top layer and stops as soon as the path is decided. Nothing that a registry sent is
passed on before the digest of its whole blob, and of the tar in it, were verified.
"""
