"""A job's options, and the check that the resources they name exist."""
