"""Custom functions: the Dockerfile copies this folder into the image of the workers."""
