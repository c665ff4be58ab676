"""What every unit test of the parts may ask for."""

from tests.stand_ins.fixtures import stand_ins

__all__ = ["stand_ins"]
