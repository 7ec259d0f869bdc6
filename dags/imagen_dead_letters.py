"""The dead letter DAG: it sends dead letters back to the prompts, or archives them."""

from datetime import timedelta

from airflow.sdk import DAG, Param

from imagen_ops.dag.defaults import DAG_DEFAULTS, TAG
from imagen_ops.dead_letters.decision import REPLAYABLE, ReplayForm
from imagen_ops.dead_letters.operators import ReplayDeadLetters

_DEFAULTS = ReplayForm()

with DAG(
    "imagen_dead_letters_replay",
    schedule=None,
    description="Replay retryable dead letters, archive those that can't be replayed",
    tags=[TAG, "dead-letters"],
    # Two runs at the same time would take dead letters away from each other.
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=3),
    params={
        "dry_run": Param(
            _DEFAULTS.dry_run,
            type="boolean",
            title="Dry run",
            description_md=(
                "Only count what a run would do, by reason. Nothing changes, and all dead letters "
                "stay where they are. Start with this."
            ),
        ),
        "reasons": Param(
            list(_DEFAULTS.reasons),
            type="array",
            items={"type": "string", "enum": list(REPLAYABLE)},
            # With examples, the form offers a list to choose from.
            examples=list(REPLAYABLE),
            uniqueItems=True,
            minItems=1,
            title="Reasons to replay",
            description_md=(
                "Retryable dead letters with these reasons go back to the prompts. Retryable ones "
                "with other reasons stay where they are. All others are archived."
            ),
        ),
        "prompt_ids": Param(
            list(_DEFAULTS.prompt_ids),
            type=["null", "array"],
            items={"type": "string", "minLength": 1, "maxLength": 2_048},
            uniqueItems=True,
            maxItems=1_000,
            title="Prompts",
            description_md=(
                "The ID (prompt_id) of each prompt to handle. Other dead letters stay where they "
                "are, also those that can't be replayed. The page *Imagen* copies such a list. "
                "**Empty**: all prompts."
            ),
        ),
        "most": Param(
            _DEFAULTS.most,
            type="integer",
            minimum=1,
            maximum=100_000,
            title="Maximum dead letters",
            description_md=(
                "The run ends after this many, whether they are replayed, archived or left. Try a "
                "few hundred first to see whether replaying helps."
            ),
        ),
        "max_replays": Param(
            _DEFAULTS.max_replays,
            type="integer",
            minimum=1,
            maximum=10,
            title="Maximum replays per prompt",
            description_md=(
                "A prompt that failed again after this many replays is archived. Raise this after "
                "a long outage in which replays used up their limit."
            ),
        ),
    },
    doc_md="""
### Replay dead letters

A prompt that got no images becomes a dead letter in `dead-letters-sub`, with a reason. This DAG
handles the dead letters that exist when a run begins. Retryable ones go back to the topic `prompts`
unchanged, and the stream then generates their images. Those that can't be replayed are archived.
This DAG itself generates nothing and pays for nothing. Prompts that fail again wait for the next
run.

**When to use it.** After an outage of the model or of storage; after you raised the model's quota;
after you corrected a model id or a permission.

**When not to use it.**

- While the model is still down. Each failed replay uses up one of the prompt's three; after that it
  is archived. Check `imagen_stream_health` first.
- While the stream's budget of the hour or day is used up: `detail` says when it starts anew.
- While the stream is drained. The prompts would only wait in `prompts-sub`.
- For prompts that were refused (BLOCKED, INVALID_PROMPT). They are only archived: change them and
  publish them again.

**Replay in time.** Pub/Sub keeps dead letters for the subscription's retention, 31 days as
deployed, and then deletes them.

| dead letter | becomes |
|---|---|
| retryable, its reason chosen, replayed fewer than `max_replays` times | a prompt again |
| of a prompt that `prompt_ids` doesn't name, if it names any | left where it is |
| retryable, its reason not chosen | left where it is |
| retryable, its reason chosen, but already replayed `max_replays` times | archived |
| not retryable, or without the complete prompt | archived |
| not a valid dead letter | archived unchanged, under `reason=UNREADABLE` |

| field | what it does |
|---|---|
| `dry_run` | only counts the dead letters, and returns them to the subscription immediately |
| `reasons` | which retryable dead letters are replayed; see below |
| `prompt_ids` | handles only these prompts' dead letters, and leaves all others |
| `most` | the maximum number of dead letters per run |
| `max_replays` | how often a prompt may be replayed; its attribute `replays` has the count |

| reason | what happened |
|---|---|
| UNAVAILABLE | the model was down or its quota was used up |
| NO_IMAGE | the model answered without an image, and may succeed next time |
| MODEL_ERROR | wrong model id, missing permission, or a bug in the job |
| STORAGE_ERROR | the images couldn't be looked up or stored |
| OVER_BUDGET | the budget of a backfill, or of the stream's hour or day, was used up |
| CUSTOM_FUNCTION_FAILED | a custom function of the deployment broke, or hung |

| task | what it does | if it fails |
|---|---|---|
| `replay` | all of the above | the error says what was refused; clear the task to continue |

**Nothing is lost** if the task fails, is killed or is cleared: a dead letter is acknowledged only
after its prompt is published or its archive object is written. A prompt may then be replayed twice.
Its images are found and not paid for again, and its prediction is published twice. Only a prompt
that asks for fresh images (`"reuse": false`) and has no `id` is paid for each time.

**Results.** Counts by reason are in the log, in XCom, and under `records/replays` in the bucket.
Archived dead letters are lines of JSON in `dead-letters/reason=…/ds=…/`. In each line, `why` says
why it was archived. A dead letter that was archived twice has the same `message_id` in both lines.
To send an archived prompt again, publish `letter.body`, decoded from base64, to `prompts`.
""",
    **DAG_DEFAULTS,
):
    ReplayDeadLetters(
        task_id="replay",
        # 100,000 dead letters take some minutes.
        execution_timeout=timedelta(minutes=30),
        # Longer than the leases of a killed try: until those end, the next try finds nothing.
        retry_delay=timedelta(minutes=2),
    )
