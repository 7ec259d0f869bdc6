"""Dead letters: sent back to the prompts, or archived."""

from datetime import timedelta

from airflow.sdk import DAG, Param

from imagen_ops.dag.defaults import DAG_DEFAULTS, TAG
from imagen_ops.dead_letters.decision import REPLAYABLE, ReplayForm
from imagen_ops.dead_letters.operators import ReplayDeadLetters

_DEFAULTS = ReplayForm()

with DAG(
    "imagen_dead_letters_replay",
    schedule=None,
    description="Send dead letters that may succeed back to the prompts, archive the rest",
    tags=[TAG, "dead-letters"],
    # Two at a time would take from each other what they only want to look at.
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=3),
    params={
        "dry_run": Param(
            _DEFAULTS.dry_run,
            type="boolean",
            title="Only count",
            description_md=(
                "Says what a run would do, by reason, and does none of it: all dead letters are "
                "there again afterwards. Good to begin with."
            ),
        ),
        "reasons": Param(
            list(_DEFAULTS.reasons),
            type="array",
            items={"type": "string", "enum": list(REPLAYABLE)},
            # What makes the form a list to choose from.
            examples=list(REPLAYABLE),
            uniqueItems=True,
            minItems=1,
            title="Reasons to replay",
            description_md=(
                "Retryable dead letters of these reasons go back to the prompts. Those of the "
                "others stay where they are. What is not retryable is archived in any case."
            ),
        ),
        "most": Param(
            _DEFAULTS.most,
            type="integer",
            minimum=1,
            maximum=100_000,
            title="Most dead letters",
            description_md=(
                "A run ends after so many, whatever becomes of them. A few hundred first show "
                "whether replaying helps."
            ),
        ),
        "max_replays": Param(
            _DEFAULTS.max_replays,
            type="integer",
            minimum=1,
            maximum=10,
            title="Most replays of a prompt",
            description_md=(
                "A prompt that has been replayed so often and failed again is archived. Raise it "
                "after a long outage in which prompts were replayed in vain."
            ),
        ),
    },
    doc_md="""
### Replay dead letters

A prompt that got no images is a dead letter in `dead-letters-sub`, with the reason. This takes
those that are there when the run begins: what is *retryable* goes back to the topic `prompts` as it
was, and what is not is archived. The stream then makes the images; this DAG makes none, and pays
for none itself. What fails again waits for the next run.

**When to use it.** After an outage of the model or of storage is over, after its quota or a job's
budget was raised, after a model id or a permission was set right.

**When not to use it.** While the model is still down: every replay fails again and counts, and
after three the prompt is archived. Look at `imagen_stream_health` first. While the stream is
drained, prompts only wait in `prompts-sub`. For prompts that were refused (BLOCKED,
INVALID_PROMPT) it does nothing but archive them: they have to be sent anew, changed.

**Do not wait for long either**: Pub/Sub keeps dead letters for the subscription's retention, as
deployed 31 days, and then drops them.

| dead letter | becomes |
|---|---|
| retryable, its reason chosen, replayed less than `max_replays` times | a prompt again |
| retryable, its reason not chosen | left where it is |
| replayed `max_replays` times and failed again | archived |
| not retryable, or the original is not all there | archived |
| no dead letter at all | archived as it is, under `reason=UNREADABLE` |

| field | what it does |
|---|---|
| `dry_run` | counts only, and gives all back at once |
| `reasons` | which retryable ones are replayed; see below |
| `most` | ends the run after so many dead letters |
| `max_replays` | how often a prompt may be replayed; counted in its attribute `replays` |

| reason | of what |
|---|---|
| UNAVAILABLE | the model was down, or its quota or the job's budget used up |
| NO_IMAGE | the model answered without an image; may well do so again |
| MODEL_ERROR | wrong model id, no permission, or a fault of the job's |
| STORAGE_ERROR | the images could not be stored |

| task | what it does | if it fails |
|---|---|---|
| `replay` | all of the above | says what was refused; clear it and it goes on |

**Nothing is lost** when the task fails, is killed or cleared: a dead letter is acknowledged only
when its prompt is published or its archive object written. A prompt may then be replayed twice;
its images are found and not paid for again, and its prediction comes twice. Only a prompt that
asks for fresh images (`"reuse": false`) and has no `id` is paid for each time.

**What comes out.** Counts by reason in the log, in XCom, and under `records/replays` in the bucket.
Archived ones are lines of JSON in `dead-letters/reason=…/ds=…/`, where `why` says why; should one
be there twice, `message_id` tells. To send an archived prompt once more, publish `letter.body`,
decoded from base64, to `prompts`.
""",
    **DAG_DEFAULTS,
):
    ReplayDeadLetters(
        task_id="replay",
        # 100,000 take some minutes. Longer than the lease of a try that was killed: before that
        # the next one would find nothing.
        execution_timeout=timedelta(minutes=30),
        retry_delay=timedelta(minutes=2),
    )
