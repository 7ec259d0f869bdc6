"""The work on prompts: concurrency, pace, retries and the count of what each prompt costs."""
