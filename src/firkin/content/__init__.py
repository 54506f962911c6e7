"""An image's layers as trees, blobs and indexes; the sources of layers; names resolved to images. Does I/O."""
