"""Airflow with the FAB auth manager, as on Composer: its five roles, and some of one's own."""
