"""The two Beam jobs: parse prompts, generate and store their images, publish the outcomes.

Runs on any Beam runner. Must not know about Airflow, or where it runs: endpoints and credentials
come from the environment, everything else from the options.
"""
