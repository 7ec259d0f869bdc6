"""What DAG runs leave in the bucket for pages, queries and later runs."""
