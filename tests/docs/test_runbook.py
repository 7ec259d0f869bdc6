"""The runbook against the code: who is on call at night has no time for what is not there."""

import ast
import functools
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from beam_jobs.outcomes import Reason
from imagen_ops.dead_letters.decision import ReplayForm
from imagen_ops.google.reading import Reading
from imagen_ops.health.assessment.decide import assess
from imagen_ops.health.assessment.formatting import duration, percentage
from imagen_ops.health.assessment.signals import Canary, Previous, Signals
from imagen_ops.health.assessment.thresholds import Thresholds
from imagen_ops.health.assessment.verdict import ReasonCode, Status
from imagen_ops.health.canary_keys import PRIVATE_KEY_VARIABLE
from imagen_ops.jobs.job import Job, JobState
from imagen_ops.jobs.params import JOB_FIELDS, STREAM_FIELDS, JobForm
from imagen_ops.records import folders
from imagen_ops.settings import Settings
from imagen_ops.stream.wanted import VARIABLE
from tests.docs.markdown import slug
from tests.docs.test_security import granted

ROOT = Path(__file__).parents[2]
RUNBOOK = ROOT / "docs" / "runbook.md"
TEXT = RUNBOOK.read_text(encoding="utf-8")

_FENCES = re.compile(r"^ *```\w*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_SPANS = re.compile(r"`([^`\n]+)`")
PROSE = _FENCES.sub("", TEXT)
SPANS = _SPANS.findall(PROSE)
ENTRIES = ("Alerts", "Events", "Verdicts", "Dead letters")
# Whoever reads an alert is sent here; composer.tf has a policy for each.
ALERTS = {
    "alert-job-failed",
    "alert-system-lag",
    "alert-watermark-age",
    "alert-backlog-age",
    "alert-dead-letters",
    "alert-dag-run-failed",
    "alert-crash-loop",
    "alert-unaccounted",
    "alert-approval",
    "alert-run-late",
}


# ---- What the runbook says


def headings() -> list[tuple[int, str]]:
    return [(len(marks), text) for marks, text in re.findall(r"(?m)^(#+) (.+)$", PROSE)]


def named_anchors() -> list[str]:
    return re.findall(r'<a id="([^"]+)"></a>', PROSE)


def entries_of(section: str) -> dict[str, str]:
    """Return the entries of a section: heading to text."""
    body = re.split(rf"(?m)^## {re.escape(section)}$", TEXT)[1]
    body = re.split(r"(?m)^## ", body)[0]
    parts = re.split(r"(?m)^### (.+)$", body)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def commands(program: str) -> list[list[str]]:
    """Return the words of every command of a program, in blocks and between backticks."""
    lines = [
        line.strip()
        for block in _FENCES.findall(TEXT)
        for line in block.replace("\\\n", " ").splitlines()
    ]
    lines += [span for span in SPANS if span.startswith(f"{program} ")]
    found = []
    for line in lines:
        # Of `X=$(gcloud …)` and `af() { gcloud …; }` what is within.
        match = re.search(rf"(?:^|\$\(|\{{ )({program} .*)", line)
        if not match:
            continue
        words = shlex.split(match[1], comments=True)
        end = next((i for i, word in enumerate(words) if word in ("|", "&&", "}")), len(words))
        found.append([word.rstrip(");") for word in words[:end] if word not in (";", "$@")])
    return found


# ---- What the code has


def constants(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@functools.cache
def dags() -> dict[str, dict[str, set[str]]]:
    """Return of each DAG its tasks and its form's fields, from the files as they are written."""
    found: dict[str, dict[str, set[str]]] = {}
    for path in (ROOT / "dags").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            target.id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in tree.body:
            if isinstance(node, ast.With):
                call = node.items[0].context_expr
                assert isinstance(call, ast.Call)
                dag_id = _resolved(call.args[0], names)
                params = next((k.value for k in call.keywords if k.arg == "params"), None)
                found[ast.literal_eval(dag_id)] = {
                    "tasks": {
                        ast.literal_eval(keyword.value)
                        for part in node.body
                        for inner in ast.walk(part)
                        if isinstance(inner, ast.Call)
                        for keyword in inner.keywords
                        if keyword.arg == "task_id"
                    },
                    "fields": _fields(_resolved(params, names)) if params else set(),
                }
    return found


def _resolved(node: ast.expr, names: dict[str, ast.expr]) -> ast.expr:
    return names[node.id] if isinstance(node, ast.Name) else node


def _fields(form: ast.expr) -> set[str]:
    assert isinstance(form, ast.Dict)
    own = {ast.literal_eval(key) for key in form.keys if key is not None}
    # `**JOB_FIELDS` has no key.
    shared = {"JOB_FIELDS": JOB_FIELDS, "STREAM_FIELDS": STREAM_FIELDS}
    pairs = zip(form.keys, form.values, strict=True)
    return own.union(*(shared[ast.unparse(value)] for key, value in pairs if key is None))


def alert_events() -> set[str]:
    return {
        node.args[0].value
        for path in (ROOT / "plugins").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "alert"
        and isinstance(node.args[0], ast.Constant)
    }


@functools.cache
def terraform() -> str:
    files = [ROOT / "composer.tf", ROOT / "monitoring.tf"]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


# ---- Sections


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("Verdicts", {code.value for code in ReasonCode}),
        ("Dead letters", {reason.value for reason in Reason}),
    ],
)
def test_each_reason_has_a_section_and_no_section_is_of_a_reason_that_is_gone(
    section: str, expected: set[str]
) -> None:
    assert set(entries_of(section)) == expected


def test_a_reason_leads_to_its_section() -> None:
    from imagen_ops.health.assessment.verdict import Reason as Finding

    anchors = {slug(text) for _, text in headings()}
    assert {Finding.down(code, "").anchor for code in ReasonCode} <= anchors


def test_each_alert_has_a_section_and_each_section_an_alert() -> None:
    assert {slug(heading) for heading in entries_of("Alerts")} == ALERTS


def test_each_event_has_a_section_of_its_own_or_that_of_its_alert() -> None:
    before_alerts = re.findall(r'<a id="(\w+)"></a>\n\n### Alert', TEXT)
    assert {*entries_of("Events"), *before_alerts} == alert_events()
    assert len(alert_events()) > 3


@pytest.mark.parametrize("section", ENTRIES)
def test_each_section_says_what_it_means_how_to_look_and_what_to_do(section: str) -> None:
    for heading, text in entries_of(section).items():
        parts = re.findall(r"(?m)^- \*\*(\w+)\*\*", text)
        assert parts == ["Means", "Look", "Do"], heading


def test_every_alert_policy_names_its_section_and_every_section_has_its_policy() -> None:
    named = []
    for policy in re.findall(
        r'(?ms)^resource "google_monitoring_alert_policy" .*?^}$', terraform()
    ):
        assert "#alert-" in policy, policy.splitlines()[0]
        named += re.findall(r"#(alert-[a-z-]+)(?=[^$a-z-])", policy)
        if "#alert-${each.key}" in policy:
            named += [f"alert-{key}" for key in policies_of(policy)]
    assert Counter(named) == Counter(ALERTS)


def policies_of(policy: str) -> dict[str, str]:
    """Return what a policy is made for: the entries of the map that its `for_each` names."""
    (name,) = re.findall(r"for_each\s+= local\.(\w+)", policy)
    (body,) = re.findall(rf"(?ms)^  {name} = {{$(.*?)^  }}$", terraform())
    return dict(re.findall(r"(?ms)^    ([a-z-]+) = {$(.*?)^    }$", body))


def test_an_alert_is_found_by_the_title_that_it_rings_with() -> None:
    titles = {}
    for policy in re.findall(
        r'(?ms)^resource "google_monitoring_alert_policy" .*?^}$', terraform()
    ):
        (title,) = re.findall(r'(?m)^  display_name\s+= "(.+)"$', policy)
        if "${each.value.title}" in title:
            for key, body in policies_of(policy).items():
                (own,) = re.findall(r'(?m)^ +title\s+= "(.+)"$', body)
                titles[f"alert-{key}"] = title.replace("${each.value.title}", own)
        else:
            (key,) = re.findall(r"#(alert-[a-z-]+)", policy)
            titles[key] = title
    titles = {key: title.replace("${local.name}", "imagen") for key, title in titles.items()}
    assert titles.keys() == ALERTS
    for heading, text in entries_of("Alerts").items():
        assert f'**Means** ("{titles[slug(heading)]}"): ' in text, heading


def test_an_alert_says_from_when_on_it_is_raised() -> None:
    limits = re.findall(
        r"(?ms)^    ([a-z-]+) = {$(?:(?!^    }).)*?above\s+= (\d+) \* 60$", terraform()
    )
    assert len(limits) == 3
    sections = {slug(heading): text for heading, text in entries_of("Alerts").items()}
    for key, minutes in limits:
        assert f"over {minutes} min" in sections[f"alert-{key}"], key
    most = re.findall(
        r'"dead_letters_per_10_minutes" {.*?default\s+= (\d+)', terraform(), re.DOTALL
    )
    assert f"allows ({most[0]})" in sections["alert-dead-letters"]


def test_it_can_be_read_at_night() -> None:
    assert len(TEXT.splitlines()) < 640


@pytest.mark.parametrize("code", [ReasonCode.BACKLOG_AGE, ReasonCode.BACKLOG_SIZE])
def test_a_backlog_that_can_be_down_is_told_to_lead_to_the_lost_canary(code: ReasonCode) -> None:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    earlier = at - timedelta(hours=2)
    waits = {code.value.lower(): Reading(1_000, at)}
    verdict = assess(
        Signals(
            at=at,
            wanted=True,
            job=Job("1", "imagen-stream", JobState.RUNNING, earlier, earlier),
            canary=Canary(at - timedelta(minutes=5)),
            previous=Previous(Status.DEGRADED, canary_lost=True),
            **waits,
        ),
        Thresholds(backlog_size=100),
    )
    assert (verdict.reasons[0].code, verdict.status) == (code, Status.DOWN)
    assert ReasonCode.CANARY_LOST not in {reason.code for reason in verdict.reasons}
    means = entries_of("Verdicts")[code.value].partition("- **Look**")[0]
    assert "DOWN" in means
    led = means if "#canary_lost" in means else entries_of("Verdicts")["BACKLOG_AGE"]
    assert "[there](#backlog_age)" in means or led == means
    assert "begin with [CANARY_LOST](#canary_lost)" in led


def test_a_run_that_waits_for_another_is_told_how_it_comes_to_its_turn() -> None:
    start = procedures()["Start"]
    code = (ROOT / "dags" / "imagen_stream.py").read_text(encoding="utf-8")
    assert '"max_active_runs": 1' in code
    for task, unit, short in (("make_way", "hours", "h"), ("wait_until_running", "minutes", "min")):
        (limit,) = re.findall(
            rf'task_id="{task}"[^)]*?timeout=timedelta\({unit}=(\d+)\)', code, re.DOTALL
        )
        assert f"`{task}` up to {limit} {short}" in start
    for section in (entries_of("Verdicts")["STARTING"], procedures()["Replace"]):
        assert "(#one-run-at-a-time)" in section


# ---- Terraform


RELEASES = {"Upgrade in place", "Roll back"}


def procedures() -> dict[str, str]:
    return entries_of("Procedures")


@pytest.mark.parametrize("section", ENTRIES)
def test_whoever_mends_something_is_never_told_to_release_this_clone(section: str) -> None:
    for heading, text in entries_of(section).items():
        assert "terraform apply" not in text, heading
        assert re.findall(r"\bapply\b(?!\]\(#repair-by-terraform\))", text) == [], heading


def test_whoever_applies_for_another_reason_than_a_release_is_told_to_keep_the_tag() -> None:
    applied = {name for name, text in procedures().items() if "terraform apply" in text}
    assert applied >= RELEASES | {"Repair by Terraform", "Change the model", "Restore Airflow"}
    for name in applied - RELEASES - {"Repair by Terraform"}:
        assert "(#repair-by-terraform)" in procedures()[name], name


def test_the_tag_that_is_deployed_is_read_from_a_template() -> None:
    (block,) = _FENCES.findall(procedures()["Repair by Terraform"])
    (name,) = re.findall(r'gs://\$BUCKET/(templates/\w+\.json)"', block)
    assert 'name         = "templates/${each.key}.json"' in terraform()
    assert name == "templates/stream.json"
    template = json.dumps({"image": "registry:5000/my-project/imagen/imagen-stream:0123456789ab"})
    (program,) = re.findall(r"python3 -c '(.+?)'", block)
    done = subprocess.run(
        [sys.executable, "-c", program], input=template, text=True, capture_output=True, check=True
    )
    assert done.stdout == "0123456789ab\n"


def test_before_anything_is_applied_it_says_what_terraform_needs_here() -> None:
    text = TEXT.split("## First of all")[1].split("\n## ")[0]
    assert {"backend.tf", "terraform.tfvars", "terraform init"} <= set(_SPANS.findall(text))
    assert "*terraform output* beside BUCKET" in text
    script = (ROOT / "scripts" / "00_set_environment.sh").read_text(encoding="utf-8")
    assert "${value:+terraform output}" in script
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "*.tfvars" in ignored


# ---- Links and names


def test_every_link_leads_somewhere() -> None:
    anchors = [slug(text) for _, text in headings()] + named_anchors()
    assert [anchor for anchor, times in Counter(anchors).items() if times > 1] == []
    links = re.findall(r"\]\(([^)\s]+)\)", PROSE)
    assert len(links) > 50
    for link in links:
        path, _, anchor = link.partition("#")
        if path:
            assert (RUNBOOK.parent / path).is_file(), link
        else:
            assert anchor in anchors, link


def test_every_file_that_is_named_is_there() -> None:
    named = re.findall(
        r"(?<!\.state/)\b(?:plugins|beam_jobs|dags|scripts|localcloud|docs|tests)/[\w./-]*", TEXT
    )
    assert len(named) > 8
    assert [path for path in named if not (ROOT / path.rstrip(".")).exists()] == []


def test_every_dag_that_is_named_is_there() -> None:
    assert len(dags()) == 5
    known = {*dags(), VARIABLE, PRIVATE_KEY_VARIABLE, "imagen_ops"}
    assert set(re.findall(r"\bimagen_\w+", TEXT)) - known == set()
    assert set(dags()) <= set(re.findall(r"\bimagen_\w+", TEXT))


def test_every_task_is_one_of_its_dag() -> None:
    section = entries_of("Alerts")["Alert: DAG run failed"]
    tasks = set().union(*(dag["tasks"] for dag in dags().values()))
    checked = 0
    for item in re.split(r"(?m)^  \d+\. ", section)[1:]:
        dag_id, *others = _SPANS.findall(item) or [""]
        for task in tasks.intersection(others):
            assert task in dags()[dag_id]["tasks"], item
            checked += 1
    assert checked >= 10


def test_every_setting_that_is_named_is_one() -> None:
    named = {name for name in re.findall(r"\bIMAGEN_(\w+)", TEXT) if name != "X"}
    assert len(named) > 15
    assert {name.lower() for name in named} - set(Settings.model_fields) == set()


def test_a_setting_that_can_not_be_set_is_never_told_to_be() -> None:
    """What follows from resources Terraform refuses in `settings`; the model is a variable."""
    lists = re.findall(r"(?ms)^  settings_in_\w+ = \[$(.*?)^  \]$", terraform())
    own = {name for each in lists for name in re.findall(r'(?m)"(\w+)",', each)} | {"model"}
    assert len(own) > 15
    for line in TEXT.splitlines():
        fixed = {name.lower() for name in re.findall(r"\bIMAGEN_(\w+)", line)} - own - {"x"}
        assert not fixed or "`composer.tf` sets" in line, line


def test_every_field_is_one_of_a_form() -> None:
    fields = set().union(*(dag["fields"] for dag in dags().values()))
    assert fields >= {"on_active", "model", "most", "cancel_after_minutes", "max_cost_usd"}
    # As in `most` = 200, *Cancel after (minutes)* (`cancel_after_minutes`), `model` in the form.
    named = set(re.findall(r"`(\w+)` = ", PROSE))
    for row in re.findall(r"(?m)^\|.*\| (.*(?:in the form|in its form).*?) \|.*\|$", PROSE):
        named |= {name for name in _SPANS.findall(row) if name.islower()}
    assert len(named) > 8
    assert named - fields == set()


def test_no_word_of_the_code_is_misspelt() -> None:
    """Names of tasks, fields, counters, records: each is a word somewhere in the code."""
    folders = ("plugins", "dags", "beam_jobs", "localcloud")
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
    )
    words = set(re.findall(r"\w+", code + terraform()))
    named = {span for span in SPANS if re.fullmatch(r"[a-z]+(?:_[a-z0-9]+)+", span)}
    assert len(named) > 30
    assert named - words == set()


# What sections quote from errors and verdicts, to be recognized by.
QUOTED = (
    *("there is no verdict", "invalid settings", "not restarting", "came through"),
    *("nobody has started it yet", "unexpected", "over budget", "is not a record"),
    *("cannot be read after line",),
)


@pytest.mark.parametrize("words", QUOTED)
def test_what_is_quoted_from_a_message_is_in_one(words: str) -> None:
    assert re.search(rf'"[^"\n]*{re.escape(words)}[^"\n]*"', PROSE)
    folders = ("plugins", "beam_jobs")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert any(words in path.read_text(encoding="utf-8") for path in files)


def test_every_title_of_a_form_that_is_named_is_one() -> None:
    code = "".join(
        path.read_text(encoding="utf-8")
        for path in [*(ROOT / "dags").glob("*.py"), ROOT / "plugins/imagen_ops/jobs/params.py"]
    )
    titles = set(re.findall(r'(?m)(?:title=|^ {8,12})"([A-Z][^"]+)",$', code))
    named = {
        *re.findall(r"\*([A-Z][^*\n]+)\* \(`\w+`\) decides", PROSE),
        *re.findall(r"with \*([A-Z][^*\n]+)\* on", PROSE),
    }
    assert len(named) > 1
    assert named <= titles


def test_every_folder_of_records_is_one() -> None:
    known = {
        folders.HEALTH_RECORDS,
        folders.RESTART_RECORDS,
        folders.BACKFILL_RECORDS,
        folders.RUN_RECORDS,
        folders.REPLAY_RECORDS,
        folders.LAUNCH_RECORDS,
        folders.ACTION_RECORDS,
    }
    assert set(re.findall(r"records/\w+", TEXT)) <= known
    line = next(line for line in PROSE.splitlines() if line.startswith("`health` (checks)"))
    assert {f"records/{name}" for name in _SPANS.findall(line)} == known


def test_the_transforms_that_an_update_compares_are_those_of_the_stream() -> None:
    text = TEXT.split("**When an update is refused.**")[1].split("`beam_jobs/stream.py`")[0]
    assert set(_SPANS.findall(text)) == {
        node.left.value
        for node in ast.walk(ast.parse((ROOT / "beam_jobs" / "stream.py").read_text("utf-8")))
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.RShift)
        and isinstance(node.left, ast.Constant)
    }


# ---- Figures


@pytest.mark.parametrize(
    ("setting", "default"),
    [
        ("IMAGEN_CANARY_SECONDS", duration(Settings.model_fields["canary_seconds"].default)),
        ("IMAGEN_MAX_SYSTEM_LAG_SECONDS", duration(Thresholds.system_lag_s)),
        ("IMAGEN_MAX_WATERMARK_AGE_SECONDS", duration(Thresholds.watermark_age_s)),
        ("IMAGEN_MAX_BACKLOG_AGE_SECONDS", duration(Thresholds.backlog_age_degraded_s)),
        ("IMAGEN_MAX_BACKLOG_AGE_SECONDS", duration(Thresholds.backlog_age_down_s)),
        ("IMAGEN_STARTUP_SECONDS", duration(Thresholds.startup_grace_s)),
        ("IMAGEN_MAX_FAILURE_RATIO", percentage(Thresholds.failure_ratio_degraded)),
        ("IMAGEN_MAX_FAILURE_RATIO", percentage(Thresholds.failure_ratio_down)),
        ("IMAGEN_MAX_FAILURE_RATIO", f"{Thresholds.failure_min_prompts} or more"),
        ("`max_in_flight` in the form", str(JobForm.max_in_flight)),
        ("`max_workers` in the form", str(JobForm.max_workers)),
        ("`max_retry_seconds` in the form", f"{JobForm.max_retry_seconds:g}"),
        ("`request_tier` in the form", f"`{JobForm.request_tier}`"),
        (
            "IMAGEN_BACKFILL_MAX_IMAGES",
            f"{Settings.model_fields['backfill_max_images'].default:,}",
        ),
        (
            "IMAGEN_BACKFILL_MAX_COST_USD",
            f"{Settings.model_fields['backfill_max_cost_usd'].default:g} USD",
        ),
        ("IMAGEN_BACKFILL_MAX_ROWS", f"{Settings.model_fields['backfill_max_rows'].default:,}"),
        ("IMAGEN_BACKFILLS_AT_ONCE", str(Settings.model_fields["backfills_at_once"].default)),
        ("IMAGEN_RESTARTS_PER_HOUR", str(Settings.model_fields["restarts_per_hour"].default)),
    ],
)
def test_limits_are_those_of_the_code(setting: str, default: str) -> None:
    row = next(line for line in PROSE.splitlines() if line.startswith("|") and setting in line)
    assert re.search(rf"(?<![\w.,]){re.escape(default)}(?![\w])", row), row


def test_other_figures_are_those_of_the_code() -> None:
    from beam_jobs.engine.image_maker import ROOM_OVER_IN_FLIGHT
    from beam_jobs.engine.model_calls import MAX_EMPTY_ANSWERS
    from beam_jobs.prompts.field_values import MAX_PROMPT_CHARS

    assert f"up to {ROOM_OVER_IN_FLIGHT:g} × `max_in_flight` calls a worker" in TEXT
    assert MAX_EMPTY_ANSWERS == 3
    assert "answered three times without an image" in TEXT
    assert f"over {MAX_PROMPT_CHARS:,} characters" in TEXT
    assert ReplayForm().max_replays == 3
    assert "three times at most (`max_replays`)" in TEXT
    assert f"up to {ReplayForm().most:,}" in TEXT


@pytest.mark.parametrize(
    ("subscription", "days"),
    [("prompts-sub", 31), ("dead-letters-sub", 31), ("predictions-sub", 7)],
)
def test_what_waits_is_kept_for_as_long_as_it_says(subscription: str, days: int) -> None:
    (name,) = re.findall(
        rf"{subscription}\s*= {{[^}}]*keep = local\.retention\.(\w+) \* local\.days", terraform()
    )
    assert re.search(rf"(?m)^    {{.*\b{name} = {days}\b", terraform())
    assert f"{days} days" in TEXT


def test_every_subscription_is_one_of_the_deployment() -> None:
    named = set(re.findall(r"\b[a-z-]+-sub\b", TEXT))
    assert named == set(re.findall(r"(?m)^    ([a-z-]+-sub)\s+= {", terraform()))


def test_what_is_said_to_be_set_in_terraform_can_be() -> None:
    variables = set(re.findall(r'variable "(\w+)"', terraform()))
    named = set(re.findall(r"-var (\w+)=", TEXT)) | set(
        re.findall(r"`(\w+)`,? in `(?:composer\.tf|terraform\.tfvars)`", TEXT)
    )
    assert named >= {"image_tag", "model", "composer_image", "dead_letters_per_10_minutes"}
    assert named - variables == set()


# ---- Commands


def test_every_variable_of_a_command_is_set_by_the_script_or_at_the_top() -> None:
    script = (ROOT / "scripts" / "00_set_environment.sh").read_text(encoding="utf-8")
    first = _FENCES.findall(TEXT)[0]
    known = set(re.findall(r"_imagen_(?:default|force) (\w+)", script))
    known |= set(re.findall(r"(?m)(?:^|export | )([A-Z]+)=", first))
    # Those of the stand-ins, which the section about one machine sets.
    known |= set(re.findall(r'"([A-Z_]+)": ', (ROOT / "localcloud/cloud.py").read_text("utf-8")))
    assert set(re.findall(r"\$([A-Z_]+)", TEXT)) - known == set()


def test_every_block_is_shell() -> None:
    blocks = _FENCES.findall(TEXT)
    assert len(blocks) > 7
    for block in blocks:
        done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True)
        assert done.returncode == 0, block + done.stderr


def test_what_is_told_to_airflow_is_what_its_command_line_takes() -> None:
    from airflow.cli.cli_parser import get_parser

    told = commands("af")
    assert len(told) > 6
    for words in told:
        group, rest = words[1:3], words[3:]
        assert not rest or rest[0] == "--", f"gcloud wants -- before arguments: {words}"
        given = get_parser().parse_args([*group, *rest[1:]])
        if dag_id := getattr(given, "dag_id", None):
            assert dag_id in dags(), words
        if conf := getattr(given, "conf", None):
            assert set(json.loads(conf)) <= dags()[given.dag_id]["fields"], words


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcloud") is None, reason="no gcloud on this machine")
def test_every_gcloud_command_and_flag_is_there() -> None:
    tree = completions()
    told = commands("gcloud")
    assert len(told) > 20
    for words in told:
        node, flags, at = tree, dict(tree["flags"]), 1
        while at < len(words) and words[at] in node["commands"]:
            node = node["commands"][words[at]]
            flags |= node["flags"]
            at += 1
        assert not node["commands"], f"{words[at]} is no command: {words}"
        given = {word.partition("=")[0] for word in words[at:] if word.startswith("--")}
        assert given - flags.keys() == set(), words
        for flag, value in zip(words[at:], words[at + 1 :], strict=False):
            if isinstance(choices := flags.get(flag), list):
                assert value in choices, words


def completions() -> dict[str, Any]:
    """Return gcloud's own tree of commands and flags, which its completion in shells reads."""
    gcloud = Path(shutil.which("gcloud") or "").resolve()
    path = gcloud.parents[1] / "data" / "cli" / "gcloud_completions.py"
    if not path.is_file():
        pytest.skip(f"this gcloud has no {path}")
    spec = importlib.util.spec_from_file_location("gcloud_completions", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tree: dict[str, Any] = module.STATIC_COMPLETION_CLI_TREE
    return tree


# The roles that allow it, by https://cloud.google.com/iam/docs/roles-permissions; None: nothing is
# asked of the project.
NEEDED = {
    "artifacts docker tags list": "roles/artifactregistry.reader",
    "beta dataflow": "imagen_operator",
    "components update": None,
    "composer environments describe": "roles/composer.user",
    "composer environments list-upgrades": "roles/composer.user",
    "composer environments run": "imagen_operator",
    "compute regions describe": "imagen_operator",
    "dataflow": "imagen_operator",
    "logging read": "roles/logging.viewer",
    "pubsub subscriptions describe": "roles/pubsub.viewer",
    "pubsub subscriptions pull": "roles/pubsub.subscriber",
    "pubsub subscriptions seek": "roles/pubsub.subscriber",
    "storage": "roles/storage.objectViewer",
}
OF_THE_OWNER = ("composer environments snapshots", "pubsub snapshots")


def test_operators_have_the_roles_for_what_they_are_told_to_type() -> None:
    theirs = {(role, on) for who, role, on in granted() if who == "operators"}
    used = set()
    for words in commands("gcloud"):
        typed = " ".join(words[1:])
        if typed.startswith(OF_THE_OWNER):
            continue
        (command,) = (each for each in NEEDED if typed.startswith(each))
        role = NEEDED[command]
        on = {on for has, on in theirs if has == role}
        if command.startswith("pubsub"):
            assert words[4] in on, words
        else:
            assert on or not role, words
        used.add(role)
    assert {role for role, _ in theirs} - used == {"roles/monitoring.viewer"}, "for the dashboard"


def test_it_says_who_may_do_what_it_asks() -> None:
    first = TEXT.split("## First of all")[1].split("```")[0]
    assert "`operators`" in first
    assert "snapshots" in first


def test_messages_are_never_deleted_by_looking() -> None:
    pulls = [words for words in commands("gcloud") if "pull" in words]
    assert len(pulls) == 2
    assert not any("--auto-ack" in words for words in pulls)


def test_on_one_machine_there_is_what_it_says() -> None:
    targets = re.findall(r"`make (\w+)", TEXT)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert {"up", "down", "watch"} <= set(targets)
    assert [target for target in targets if f"\n{target}: " not in makefile] == []
