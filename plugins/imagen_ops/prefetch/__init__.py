"""Filling the store ahead of a backfill's job, through Vertex AI's batch inference.

A batch job is only a cheaper way of making images. They are stored under the same names, and the
backfill's own job finds them, makes what is missing, and publishes and accounts for everything.
"""
