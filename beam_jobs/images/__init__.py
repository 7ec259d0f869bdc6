"""Image storage, and the index of the newest images."""
