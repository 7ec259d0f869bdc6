"""Dataflow's batch runner on one machine: one process deals out bundles to worker processes."""
