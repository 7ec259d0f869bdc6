"""How Airflow operates the service: settings, hooks, operators, sensors and the health decision."""
