"""The busy workers of a job: who is there, and what share of a quota each has."""
