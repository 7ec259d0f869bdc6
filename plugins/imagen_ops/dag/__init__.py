"""What all DAGs and tasks share."""
