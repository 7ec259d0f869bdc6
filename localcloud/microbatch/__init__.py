"""The parts of the micro-batch runner: leases, batches, Beam overrides and metrics."""
