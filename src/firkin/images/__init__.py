"""What is done with images, one file an operation: values in, values out; nothing is printed. Does I/O.

An operation takes a store or a registry client, values, and a Listener where bytes move (`progress.py`); what is wrong
is a FirkinError. `find.find_image` says what a name, an id or a digest means; most others take the Found that it
returns.
"""
