"""Records of what DAG runs did, kept in the bucket for the page, for queries and for later runs."""
