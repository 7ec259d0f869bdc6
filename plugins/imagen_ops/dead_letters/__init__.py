"""Dead letters: which of them go back to the prompts, and which into the archive."""
