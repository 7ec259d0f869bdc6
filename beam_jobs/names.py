"""The default names of topics, subscriptions, folders, and of the stream's job.

The DAGs' settings, the commands and the local cloud take them from here, and tests check that
`composer.tf` uses the same names.
"""

PROMPTS_TOPIC = "prompts"
PROMPTS_SUBSCRIPTION = "prompts-sub"
PREDICTIONS_TOPIC = "predictions"
PREDICTIONS_SUBSCRIPTION = "predictions-sub"
CANARY_SUBSCRIPTION = "canary-sub"
DEAD_LETTERS_TOPIC = "dead-letters"
DEAD_LETTERS_SUBSCRIPTION = "dead-letters-sub"
STREAM_JOB = "imagen-stream"

# The folder in the bucket for what DAGs and jobs exchange: plans, reports and ledgers of budgets.
JOBS_FOLDER = "jobs"
