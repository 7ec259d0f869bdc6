"""What comes in and what it asks for: files, rows, messages, and the prompts they hold."""
