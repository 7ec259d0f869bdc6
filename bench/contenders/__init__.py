"""The alternatives: programs that generate N images and write them into a folder."""
