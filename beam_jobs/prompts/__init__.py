"""Reading prompts: files, their rows, messages, and the parser that turns them into prompts."""
