"""How Airflow reaches the service: settings, hooks, operators, sensors and the health decision."""
