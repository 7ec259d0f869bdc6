"""The command line for people: publish prompts, watch their outcomes, see their images.

Works with Google Cloud and with the local cloud; environment variables say which.
"""
