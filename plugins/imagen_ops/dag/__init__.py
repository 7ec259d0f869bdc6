"""What all DAGs and tasks have in common."""
