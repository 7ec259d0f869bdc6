"""What happens to a prompt: parse, look up, generate, store, publish.

Runs on any Beam runner. Knows nothing of Airflow, and nothing of where it runs: endpoints and
credentials come from the environment, everything else from the options.
"""
