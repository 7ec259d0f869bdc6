"""Finds out, after `terraform apply`, whether Google Cloud does what this project believes of it.

`scripts/02_verify_deployment.sh` runs it. It uses a deployment as people and jobs do, through
Google's APIs and Airflow's, and knows nothing of how DAGs and jobs work inside. So it must not
import `airflow`, `imagen_ops`, or `localcloud`.
"""
