"""A backfill: plan the prompt files, check the budget, launch the job, wait, reconcile."""
