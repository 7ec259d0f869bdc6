"""What else people would run: each a program that makes N images and writes them into a folder."""
