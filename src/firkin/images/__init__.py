"""Operations on images, one file each: values in, values out; nothing is printed. Does I/O.

An operation takes a store or a registry client, values, and a Listener where bytes move (`progress.py`). It raises
FirkinError. `find.find_image` finds the image that a name, an id or a digest means; most other operations take the
Found that it returns.
"""
