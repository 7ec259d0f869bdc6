"""A package, so that pytest ends its Airflow with its last test."""
