"""Stands in for RPi.GPIO on a machine that is no Raspberry Pi: both providers refuse at import, in these words."""

raise RuntimeError("This module can only be run on a Raspberry Pi!")
