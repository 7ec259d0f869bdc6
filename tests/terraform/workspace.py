"""Why this exists: Terraform in a folder of its own, so that it leaves nothing in the tree and
reads nothing there but what is part of it.
"""

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.terraform.gcloud import BUCKETS

ROOT = Path(__file__).parents[2]
READ_BY_TERRAFORM = ("dags", "plugins", "beam_jobs", "scripts")
# Nothing here has to settle.
EXAMPLE = {"project": "my-project", "image_tag": "0123456789ab", "settle_seconds": 0}

# Every setting that has a default in the code, as somebody might set it.
SETTINGS = {
    "health_schedule": "*/10 * * * *",
    "backfill_schedule": "0 3 * * *",
    "poke_seconds": 20,
    "canary_seconds": 60,
    "restarts_per_hour": 1,
    "startup_seconds": 1200,
    "backfills_at_once": 3,
    "approval_timeout_hours": 6.5,
    "health_due_minutes": 20,
    "backfill_due_hours": 8.5,
    "prefetch_min_saving_usd": 2.5,
    "backfill_pool": "imagen_backfill",
    "backfill_requests_per_minute": 30.5,
    "backfill_max_images": 1000,
    "backfill_max_cost_usd": 70,
    "backfill_max_rows": 5000,
    "prefetch": "auto",
    "prefetch_deadline_hours": 6.5,
    "prefetch_keep_output": True,
    "reference_buckets": "product-photos",
    "backfill_max_unpacked_bytes": 1000000,
    "backfill_max_plan_seconds": 60,
    "stream_max_images_per_hour": 100,
    "stream_max_images_per_day": 1000,
    "max_system_lag_seconds": 100,
    "max_watermark_age_seconds": 200,
    "max_backlog_age_seconds": 300,
    "max_backlog_size": 400,
    "max_failure_ratio": 0.25,
    "allowed_models": "gemini-3.1-flash-image,gemini-3-pro-image",
    "allowed_image_sizes": "1K",
    "max_images_per_prompt": 2,
    "console_url": "https://console.example.com",
    "gcp_conn_id": "another",
    "image_metadata": "on",
    "preprocess": "custom.example:prepare",
    "postprocess": "custom.example:compress",
    "notifier": '{"class": "a.B", "kwargs": {}}',
}
OPERATORS = ["group:oncall@example.com", "user:somebody@example.com"]
KEY = "projects/keys/locations/us-central1/keyRings/team/cryptoKeys/imagen"
# Another value for every variable but those that say where a deployment is, and what it is called.
OTHERWISE: dict[str, Any] = {
    "airflow_config": {"core-parallelism": "8", "logging-namespace_levels": None},
    "allowed_buckets": ["shared"],
    "allowed_projects": ["network-host", "123456"],
    "batch_inference": True,
    "bigquery_dataset": "imagen",
    "bigquery_retention_days": 30,
    "billing_account": "012345-6789AB-CDEF01",
    "callback_logs": True,
    "composer_image": "composer-3-airflow-3.3.1-build.1",
    "dead_letters_per_10_minutes": 5,
    "environment_size": "medium",
    "image_tag": "ba9876543210",
    "keep_data": False,
    "kms_key": KEY,
    "labels": {"team": "pictures", "stage": "test"},
    "maintenance_window": {
        "start_time": "2026-01-03T00:00:00Z",
        "end_time": "2026-01-03T12:00:00Z",
        "recurrence": "FREQ=WEEKLY;BYDAY=SU",
    },
    "metadata_retention_days": 90,
    "model": "gemini-3-pro-image",
    "monthly_budget": 500,
    # It can only grow.
    "network_range": "10.20.0.0/20",
    "notification_emails": ["a@example.com", "b@example.com"],
    "operators": OPERATORS,
    "prompt_folders": ["prompts/", "orders/eu/"],
    "retention": {"predictions": 14, "jobs": 120},
    "role_suffix": "_2",
    "runbook_url": "https://example.com/runbook",
    "settings": SETTINGS,
    "settle_seconds": 0,
    "signed_url_hours": 24.5,
    "snapshots": True,
    "web_server_ranges": ["203.0.113.0/24"],
    "worker_egress_ranges": ["10.30.0.5/32"],
    "worker_machine_type": "n2-standard-4",
}
# What a team may have already; `answers.py` says what there is.
TEAM: dict[str, Any] = {
    "name_prefix": "pics",
    "existing_environment": "team-airflow",
    "existing_subnetwork": "projects/network-host/regions/us-central1/subnetworks/shared",
    "existing_topics": {"prompts": "orders"},
    "kms_key": KEY,
    "bigquery_dataset": "imagen",
    "bigquery_retention_days": 30,
}
# Where a deployment is and what it is called: another one is another deployment.
ELSEWHERE: dict[str, Any] = {
    "project": "another-project",
    "region": "europe-west4",
    "bucket": "another-bucket",
    "name_prefix": TEAM["name_prefix"],
    "existing_environment": TEAM["existing_environment"],
    "existing_subnetwork": TEAM["existing_subnetwork"],
}
# What can't be set beside what a team has: its owners set it.
OF_THE_OWNERS = {
    "existing_environment": {"airflow_config", "callback_logs", "snapshots", "web_server_ranges"},
    "existing_subnetwork": {"worker_egress_ranges"},
}
# What names a resource within its project, by what it is called in Terraform.
_NAMES = ("account_id", "dataset_id", "name", "repository_id", "role_id")
# What belongs to something that has a name, or to the project alone.
_NAMELESS = ("_iam_member", "_object", "_record_set", "_project_service", "terraform_data", "data.")


@dataclasses.dataclass(frozen=True)
class Workspace:
    """A folder in which `terraform` runs, with the environment in which it finds its provider."""

    folder: Path
    environment: dict[str, str]

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["terraform", *arguments],
            cwd=self.folder,
            env={**self.environment, BUCKETS: str(self.folder / "buckets")},
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def errors(self, *arguments: str) -> list[dict[str, Any]]:
        """The errors of a command that takes `-json`, as Terraform's diagnostics."""
        done = self.run(*arguments, "-json", check=False)
        if arguments[0] == "validate":
            found = json.loads(done.stdout)["diagnostics"]
        else:
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            found = [line["diagnostic"] for line in lines if line["type"] == "diagnostic"]
        return [one for one in found if one["severity"] == "error"]

    def copy(self, folder: Path) -> "Workspace":
        """The same with its state, to change that without changing this."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return dataclasses.replace(self, folder=folder)

    def plan(self, *arguments: str) -> dict[str, Any]:
        """What would change, as Terraform writes a plan."""
        self.run("plan", "-input=false", "-out=plan", *arguments)
        planned: dict[str, Any] = json.loads(self.run("show", "-json", "plan").stdout)
        return planned

    def apply(self) -> "Deployment":
        """What an apply ends with."""
        self.run("apply", "-input=false", "-auto-approve")
        values = json.loads(self.run("show", "-json").stdout)["values"]
        outputs = {name: one["value"] for name, one in values.get("outputs", {}).items()}
        return Deployment(by_address(values), outputs)

    def apply_and_say(self) -> dict[str, str]:
        """What an apply does to what: create, update, replace, or delete."""
        return self._said("apply", "-input=false", "-auto-approve")

    def left_to_do(self) -> dict[str, str]:
        """The same of the next plan, which applies nothing; outputs are there by their names.

        Not `-detailed-exitcode`: data that a `check` reads is read again in every apply, and counts
        as a difference there.
        """
        return self._said("plan", "-input=false")

    def _said(self, *arguments: str) -> dict[str, str]:
        lines = [json.loads(line) for line in self.run(*arguments, "-json").stdout.splitlines()]
        made = [line["change"] for line in lines if line["type"] == "planned_change"]
        found = {one["resource"]["addr"]: one["action"] for one in made}
        outputs = [line["outputs"] for line in lines if line["type"] == "outputs"]
        found |= {name: one.get("action", "noop") for name, one in (outputs or [{}])[0].items()}
        return {name: action for name, action in found.items() if action not in ("read", "noop")}

    def give(self, **variables: Any) -> None:
        """Sets the variables of the commands to come."""
        (self.folder / "terraform.tfvars.json").write_text(json.dumps(variables))


@dataclasses.dataclass(frozen=True)
class Deployment:
    """What an apply ended with: values by address (`google_x.y["key"]`), and the outputs."""

    resources: dict[str, dict[str, Any]]
    outputs: dict[str, Any]

    def names(self) -> Iterator[tuple[str, str]]:
        """Yield the type and the name of what a project has once only."""
        for address, one in self.resources.items():
            kind = address.partition(".")[0]
            if not any(part in address for part in _NAMELESS):
                found = (one.get(name) for name in _NAMES)
                yield from ((kind, name.rpartition("/")[2]) for name in found if name)


def fill(folder: Path, environment: dict[str, str], text: str | None = None) -> Workspace:
    """A workspace with this text, or with `composer.tf` and the folders that it reads."""
    if text is None:
        for path in ROOT.glob("*.tf"):
            shutil.copy(path, folder)
        for name in READ_BY_TERRAFORM:
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.pyc"))
    else:
        (folder / "main.tf").write_text(text)
    # Wherever a deployment keeps its state, this one keeps it here.
    (folder / "state_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
    workspace = Workspace(folder, environment)
    workspace.run("init", "-input=false")
    return workspace


def changes(plan: dict[str, Any]) -> dict[str, set[str]]:
    """What a plan does to what: `{"update"}`, or `{"delete", "create"}`; not what it reads."""
    found = {one["address"]: set(one["change"]["actions"]) for one in plan["resource_changes"]}
    return {
        name: made - {"no-op", "read"} for name, made in found.items() if made - {"no-op", "read"}
    }


def by_address(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["address"]: one["values"] for one in values["root_module"]["resources"]}


def of_kind(resources: dict[str, dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {name: one for name, one in resources.items() if name.startswith(f"{kind}.")}
