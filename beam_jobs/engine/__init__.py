"""The work on a prompt: how many at once, how fast, how often, and what it took."""
