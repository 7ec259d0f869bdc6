"""The health of the stream: probe it, collect signals, assess them, restart it if it died."""
