"""How the stream is: probe it, collect signals, assess them, and restart what died."""
