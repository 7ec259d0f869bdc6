"""The page that operators keep open: a small web app inside Airflow's, behind Airflow's own login.

It looks, and changes nothing. What it shows comes from what jobs and DAGs leave in storage; buttons
lead to Airflow's own forms. `lazy` is all that Airflow's other processes ever import of it.
"""
