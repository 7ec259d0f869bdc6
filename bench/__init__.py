"""Benchmarks of this project and of alternatives, on the machine at hand."""
