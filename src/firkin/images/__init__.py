"""What is done with images: values in, values out; nothing is printed. Does I/O."""
