"""The Beam transforms of both jobs, and how a job is submitted."""
