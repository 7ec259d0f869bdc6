"""The small command line for people: publish prompts, watch what becomes of them, see the images.

Works on Google Cloud and on a laptop alike; the environment says which.
"""
