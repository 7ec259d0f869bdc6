"""The health decision: signals in, a verdict out. Pure: no clock, no calls, no Airflow."""
