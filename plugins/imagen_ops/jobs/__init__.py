"""What a job on Dataflow is, and what is asked of Dataflow to launch one. Pure."""
