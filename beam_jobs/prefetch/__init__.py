"""Filling the store ahead of a backfill, with images that batch inference makes at a lower price.

The images get the names that the backfill's own job looks for. So the job finds them, pays online
for whatever is missing, and publishes and counts everything as if there had been no batch.
"""
