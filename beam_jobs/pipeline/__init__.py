"""The way of a prompt as Beam sees it, and how a job is submitted."""
