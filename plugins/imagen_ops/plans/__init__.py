"""What a backfill would do and cost; `imagen_ops.planning` puts it together.

Which rows a file has and what identifies a prompt is decided in `beam_jobs`, whose pure modules
are imported inside functions here; Beam never is.
"""
