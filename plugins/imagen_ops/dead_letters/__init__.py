"""Dead letters: which go back to the prompts, and which into the archive."""
