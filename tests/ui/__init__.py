"""A package, so that pytest ends its browser with its last test."""
