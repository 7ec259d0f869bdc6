"""Google's APIs, as far as the DAGs need them. Heavy to import: only from within a task."""
