"""What is not granted is refused: the boundary that docs/security.md describes.

Each call is made so that it changes nothing should it be let in. Airflow's account is not asked:
`roles/composer.worker`, which Composer requires, lets it do most of this.
"""

import dataclasses
from collections.abc import Callable, Iterator

from google.api_core import exceptions as api_exceptions

from verification.access import TIMEOUT_S, NotAskedError
from verification.calls import Call, lists_jobs, publishes, takes
from verification.check import Check, DiffersError, Seen
from verification.deployment import Deployment
from verification.visit import Visit


@dataclasses.dataclass(frozen=True)
class Refusal:
    """A call that an account must not be able to make.

    Args:
        account: `worker` or `build`.
        does: what it must not be able to do, in words.
        call: tries to.
    """

    account: str
    does: str
    call: Call


def _own_bucket(visit: Visit) -> str:
    return visit.deployment.bucket


def _snapshots(visit: Visit) -> str:
    return f"{visit.deployment.bucket}-snapshots"


def _dags_bucket(visit: Visit) -> str:
    """Return Composer's bucket: as its API says, or as `composer.tf` names it."""
    try:
        prefix = str(visit.composer["config"]["dagGcsPrefix"])
    except (NotAskedError, api_exceptions.GoogleAPICallError, KeyError):
        return f"{visit.deployment.bucket}-composer"
    return prefix.removeprefix("gs://").partition("/")[0]


def _lists(below: str, *, bucket: Callable[[Visit], str] = _own_bucket) -> Call:
    """Return a call that lists a folder of a bucket."""

    def call(visit: Visit, account: str) -> str:
        client = visit.access.storage(account)
        found = client.list_blobs(
            bucket(visit),
            prefix=below or None,
            max_results=1,
            timeout=TIMEOUT_S,
            retry=None,
        )
        return f"listed {len(list(found))} objects"

    return call


def _writes(below: str, *, bucket: Callable[[Visit], str] = _own_bucket) -> Call:
    """Return a call that would replace an object in a generation that no object has."""

    def call(visit: Visit, account: str) -> str:
        client = visit.access.storage(account)
        blob = client.bucket(bucket(visit)).blob(f"{below}{visit.mark}.txt")
        try:
            blob.upload_from_string(b"", if_generation_match=1, timeout=TIMEOUT_S, retry=None)
        except api_exceptions.PreconditionFailed:
            # Cloud Storage looks at permissions first.
            return "may write, and only the precondition refused it"
        return "wrote"

    return call


def _deletes_an_image(visit: Visit, account: str) -> str:
    client = visit.access.storage(account)
    blob = client.bucket(visit.deployment.bucket).blob(f"images/{visit.mark}/none.png")
    try:
        blob.delete(timeout=TIMEOUT_S, retry=None)
    except api_exceptions.NotFound:
        return "may delete, and only there was no such object"
    return "deleted"


def _orders_batches(visit: Visit, account: str) -> str:
    where = visit.deployment
    path = f"/v1/projects/{where.project}/locations/global/batchPredictionJobs"
    visit.access.call("vertex", "GET", path, account=account)
    return "listed batch jobs"


REFUSALS = (
    Refusal("worker", "list the whole bucket", _lists("")),
    Refusal("worker", "list records", _lists("records/")),
    Refusal("worker", "list archived dead letters", _lists("dead-letters/")),
    Refusal("worker", "list the builds", _lists("builds/")),
    Refusal("worker", "replace an image", _writes("images/")),
    Refusal("worker", "delete an image", _deletes_an_image),
    Refusal("worker", "write prompt files", _writes("prompts/")),
    Refusal("worker", "write job templates", _writes("templates/")),
    Refusal("worker", "write public keys", _writes("keys/")),
    Refusal("worker", "list DAGs", _lists("dags/", bucket=_dags_bucket)),
    Refusal("worker", "write a DAG", _writes("dags/", bucket=_dags_bucket)),
    Refusal("worker", "list snapshots", _lists("", bucket=_snapshots)),
    Refusal("worker", "publish prompts", publishes("prompts_topic")),
    Refusal("worker", "pull predictions", takes("predictions_subscription")),
    Refusal("worker", "list jobs", lists_jobs),
    Refusal("worker", "list batch jobs", _orders_batches),
    Refusal("build", "list images", _lists("images/")),
    Refusal("build", "write job templates", _writes("templates/")),
    Refusal("build", "publish prompts", publishes("prompts_topic")),
)


def _asking(refusal: Refusal) -> Callable[[Visit], Seen]:
    def ask(visit: Visit) -> Seen:
        try:
            let_in = refusal.call(visit, refusal.account)
        except (api_exceptions.Forbidden, api_exceptions.Unauthorized) as error:
            return Seen(f"refused: HTTP {error.code}")
        except api_exceptions.NotFound as error:
            raise NotAskedError(f"there is nothing to refuse: {error.message}") from error
        raise DiffersError(f"not refused: {let_in}")

    return ask


def checks(deployment: Deployment) -> Iterator[Check]:
    """Yield a check for each refusal."""
    for refusal in REFUSALS:
        yield Check(
            name=f"refused {refusal.account} {refusal.does}",
            believed=f"{deployment.accounts[refusal.account]} can't {refusal.does}.",
            where="docs/security.md",
            expected="HTTP 403",
            ask=_asking(refusal),
            needs=(f"act as {refusal.account}",),
        )
