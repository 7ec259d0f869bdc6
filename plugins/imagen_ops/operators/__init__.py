"""The tasks of the DAGs: thin around decisions that are made elsewhere."""
