"""Measurements, apart from the tests: a figure that depends on the machine is no promise."""
