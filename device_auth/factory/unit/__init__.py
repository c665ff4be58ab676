"""The verbs of the factory that run on the unit: the standard library and our own rooms only."""
