"""Measurements: what this project gives on the machine at hand, and what others give beside it."""
