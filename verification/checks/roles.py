"""Each role of `composer.tf`, by a call that needs it, as the account that has it.

A check is called as its grant in `composer.tf`. What a call makes is taken away at the end.
"""

import dataclasses
from collections.abc import Callable, Iterator

from google.auth.transport.requests import Request

from beam_jobs.names import PROMPTS_FOLDER
from verification.calls import (
    Call,
    counts_tokens,
    creates,
    keeps,
    lists_jobs,
    publishes,
    reads,
    reads_metrics,
    sees,
    sees_bucket,
    takes,
)
from verification.check import Check, DiffersError, Seen
from verification.deployment import Deployment
from verification.visit import Visit

_FILE = "composer.tf"
# What no call from outside can show, because only a machine of Google's makes it, or because a
# message would reach consumers: the check that fails without it.
PROVEN_BY = {
    "composer_works": "dags",
    "composer_launches_as_worker": "stream start",
    "composer_sends_canaries": "stream start",
    "worker_works": "stream start",
    "worker_pulls": "stream start",
    "worker_gives_up": "prompts",
    "build_writes_its_log": "images",
    "build_reads_the_source": "images",
    "build_lists_the_parts": "images",
    "build_pushes": "images",
}


@dataclasses.dataclass(frozen=True)
class Probe:
    """A grant of `composer.tf`, and the call that needs it.

    Args:
        grant: its name there.
        does: what the account must be able to do, in words.
        call: does it, as the account of that name; returns what it saw.
    """

    grant: str
    does: str
    call: Call

    @property
    def account(self) -> str:
        """Who has it: `composer`, `worker`, or `build`."""
        return self.grant.partition("_")[0]


PROBES = (
    Probe("composer_runs_jobs", "list Dataflow's jobs", lists_jobs),
    Probe("composer_reads_metrics", "read metrics", reads_metrics),
    Probe("composer_asks_models", "count tokens with the model", counts_tokens),
    Probe("worker_calls_models", "call the model, of which counting tokens is free", counts_tokens),
    Probe("composer_sees_it", "see that the bucket exists", sees_bucket),
    Probe("worker_sees_it", "see that the bucket exists", sees_bucket),
    Probe("composer_reads_templates", "read templates", reads("templates/")),
    Probe("composer_shows_images", "read images", reads("images/")),
    Probe("composer_shows_references", "read references", reads("references/")),
    Probe("composer_keeps_records", "keep records", keeps("records/")),
    Probe("composer_tells_jobs", "keep plans and ledgers", keeps("jobs/")),
    Probe("composer_prefetches", "keep requests of batch inference", keeps("prefetch/")),
    Probe("composer_changes_keys", "keep public keys", keeps("keys/")),
    Probe("composer_archives", "archive dead letters", creates("dead-letters/")),
    Probe("composer_reads_archive", "read the archive", reads("dead-letters/")),
    Probe("worker_creates_images", "create images", creates("images/")),
    Probe("worker_finds_images", "find images", reads("images/")),
    Probe("worker_claims_prompts", "keep claims", keeps("images/", ending=".claim")),
    Probe("worker_tries_to_write", "try to write", keeps("images/write-checks/")),
    Probe("worker_reads_keys", "read public keys", reads("keys/")),
    Probe("worker_reads_references", "read references", reads("references/")),
    Probe("worker_reads_templates", "read prompt templates", reads("templates/prompts/")),
    Probe("worker_reports", "keep reports and ledgers", keeps("jobs/")),
    Probe("worker_takes_batches", "keep what batch inference made", keeps("prefetch/")),
    Probe("worker_stages_its_program", "stage programs", keeps("staging/")),
    Probe("worker_keeps_temporaries", "keep temporary files", keeps("temp/")),
    Probe("composer_reads_prompts", "read prompt files", reads(f"{PROMPTS_FOLDER}/")),
    Probe("worker_reads_prompts", "read prompt files", reads(f"{PROMPTS_FOLDER}/")),
    Probe("worker_publishes", "publish predictions", publishes("predictions_topic")),
    Probe("worker_sees_predictions", "see their topic", sees("predictions_topic")),
    Probe("worker_sees_dead_letters", "see their topic", sees("dead_letters_topic")),
    Probe(
        "composer_sees_prompts",
        "see the topic and the subscription of prompts",
        sees("prompts_topic", "prompts_subscription"),
    ),
    Probe(
        "composer_sees_predictions",
        "see the topic and the subscription of predictions",
        sees("predictions_topic", "predictions_subscription"),
    ),
    Probe(
        "composer_sees_dead_letters",
        "see the topic and the subscription of dead letters",
        sees("dead_letters_topic", "dead_letters_subscription"),
    ),
    Probe(
        "composer_sees_canaries",
        "see the subscription of canaries",
        sees(subscription="canary_subscription"),
    ),
    Probe("composer_takes_canaries", "pull canaries", takes("canary_subscription")),
    Probe("composer_takes_dead_letters", "pull dead letters", takes("dead_letters_subscription")),
    Probe("worker_takes_prompts", "pull prompts", takes("prompts_subscription")),
    Probe(
        "worker_sees_the_subscription",
        "see the subscription of prompts",
        sees(subscription="prompts_subscription"),
    ),
)


def _token(account: str) -> Callable[[Visit], Seen]:
    def ask(visit: Visit) -> Seen:
        email = visit.deployment.accounts[account]
        try:
            visit.access.credentials(account).refresh(Request())
        except Exception as error:
            raise DiffersError(
                f"you can't act as {email} ({type(error).__name__}); grant yourself "
                f"roles/iam.serviceAccountTokenCreator on it, and wait some minutes: gcloud iam "
                f"service-accounts add-iam-policy-binding {email} --member=user:YOU "
                f"--role=roles/iam.serviceAccountTokenCreator"
            ) from error
        return Seen(f"got a token of {email}")

    return ask


def _asking(probe: Probe) -> Callable[[Visit], Seen]:
    return lambda visit: Seen(probe.call(visit, probe.account))


def checks(deployment: Deployment) -> Iterator[Check]:
    """Yield a check for each account, and for each role."""
    for account, email in deployment.accounts.items():
        yield Check(
            name=f"act as {account}",
            believed=f"Whoever verifies can act as {email}, to make the calls that it makes.",
            where=_FILE,
            expected="a token",
            ask=_token(account),
        )
    for probe in PROBES:
        yield Check(
            name=f"role {probe.grant}",
            believed=f"{deployment.accounts[probe.account]} can {probe.does}.",
            where=_FILE,
            expected="the call succeeds",
            ask=_asking(probe),
            needs=(f"act as {probe.account}",),
        )
