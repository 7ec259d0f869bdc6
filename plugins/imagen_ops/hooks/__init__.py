"""Where Airflow's process talks to Google. Heavy to import: only from within a task."""
