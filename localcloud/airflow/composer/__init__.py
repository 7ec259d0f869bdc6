"""An Airflow as Cloud Composer runs it: Celery workers, PostgreSQL, Redis, FAB, and a triggerer."""
