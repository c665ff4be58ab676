"""A speaker put together: its doors, its parts, and what tells a person by them."""
