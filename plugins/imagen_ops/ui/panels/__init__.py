"""The parts of the page: each reads what it shows, and knows nothing of the others, nor of HTTP."""
