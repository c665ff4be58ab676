"""A speaker put together: the doors of one process, and who links through them."""
