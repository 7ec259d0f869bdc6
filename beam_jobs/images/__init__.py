"""Where images are kept, and the index of the newest ones."""
