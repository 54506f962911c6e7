"""An image's layers as trees, blobs and indexes; where they come from; what names mean. Does I/O."""
