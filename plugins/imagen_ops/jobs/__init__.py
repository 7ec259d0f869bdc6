"""A Dataflow job: its states, the form that configures it, and the request that launches it."""
