"""The page that operators keep open: a small web app inside Airflow's, behind Airflow's login.

The page is read-only. It shows what jobs and DAGs leave in the bucket, and its buttons lead to
Airflow's own trigger forms. Airflow processes that serve no page import only `lazy` and
`build_page` from here.
"""
