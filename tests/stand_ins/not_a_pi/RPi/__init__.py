"""A package, and not only a folder: it takes the place of one that is installed on the machine."""
