"""The default names of topics, subscriptions, folders, and of the stream's job.

The DAGs' settings, the commands and the local cloud take them from here, and tests check that
`composer.tf` uses the same names.
"""

import hashlib
import re

PROMPTS_TOPIC = "prompts"
PROMPTS_SUBSCRIPTION = "prompts-sub"
PREDICTIONS_TOPIC = "predictions"
PREDICTIONS_SUBSCRIPTION = "predictions-sub"
CANARY_SUBSCRIPTION = "canary-sub"
DEAD_LETTERS_TOPIC = "dead-letters"
DEAD_LETTERS_SUBSCRIPTION = "dead-letters-sub"
# What the names of all else begin with, and of the jobs.
NAME_PREFIX = "imagen"
STREAM_JOB = f"{NAME_PREFIX}-stream"
# What the jobs' workers are, unless settings say otherwise; docs/scale.md says which fits what.
WORKER_MACHINE_TYPE = "n2-standard-2"

# The folders in the bucket of prompt files, and of dead letters that are not replayed.
PROMPTS_FOLDER = "prompts"
ARCHIVE_FOLDER = "dead-letters"
# The folder in the bucket of the texts that prompts have values for.
PROMPT_TEMPLATES_FOLDER = "templates/prompts"
# The folder in the bucket for what DAGs and jobs exchange: plans, reports and ledgers of budgets.
JOBS_FOLDER = "jobs"
# The folder in the bucket of what batch inference makes ahead of backfills: a folder for each run.
PREFETCH_FOLDER = "prefetch"
# The folder of the numbers that say which run was first.
TURNS_FOLDER = f"{PREFETCH_FOLDER}/turns"

# What the jobs' workers say of models that refuse every prompt: an object for each, written anew
# every so many seconds.
HOLDS_FOLDER = f"{JOBS_FOLDER}/holds"
HOLD_SCHEMA = "imagen.hold/1"
HOLD_REPORT_EVERY_S = 15.0

# The ledgers of budgets.
LEDGER_SCHEMA = "imagen.budget/1"
LEDGERS_FOLDER = f"{JOBS_FOLDER}/budgets"
# Of the stream, for `strftime` with a time in UTC: of its budget per hour, and per day.
HOUR_LEDGER, DAY_LEDGER = (
    f"{LEDGERS_FOLDER}/stream/{period}.json" for period in ("%Y-%m-%dT%H", "%Y-%m-%d")
)
# The folders in which the busy workers of each job tell of each other.
FLEETS_FOLDER = f"{JOBS_FOLDER}/fleet"
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def night_folder(day: str) -> str:
    """Return the folder of the prompt files of a day, YYYY-MM-DD, whose night makes them."""
    return f"{PROMPTS_FOLDER}/ds={day}"


def ledger_name(run: str, images_url: str, *, of_money: bool) -> str:
    """Return the name of a run's ledger: people can read it, and no other run has it.

    Args:
        run: names the run, such as `backfill:RUN`.
        images_url: gs:// path of the folder of images, with a slash at its end.
        of_money: whether it counts money, else images.
    """
    return f"{LEDGERS_FOLDER}/{_readable(run, images_url)}{'-cost' if of_money else ''}.json"


def fleet_folder(run: str, images_url: str) -> str:
    """Return the folder in which the workers of a run tell of each other.

    It is the same for a job that is updated in place, whose old workers still use the quota, and
    another one for whatever stores its images in another folder of the same bucket.

    Args:
        run: the stream, or `backfill:RUN`.
        images_url: gs:// path of the folder of images, with a slash at its end.
    """
    return f"{FLEETS_FOLDER}/{_readable(run, images_url)}"


def _readable(run: str, images_url: str) -> str:
    """Return a name for a run that people can read, and that no other run has."""
    digest = hashlib.sha256(f"{run} {images_url}".encode()).hexdigest()
    return f"{_NOT_IN_A_NAME.sub('-', run)[:80]}-{digest[:16]}"
