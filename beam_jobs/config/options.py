"""The options of both jobs: their names, defaults, and help, and what `--help` prints of them."""

import argparse
import textwrap
from collections.abc import Container

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.catalog import DEFAULT_MODEL, FLEX_CALL_TIMEOUT_S, IMAGE_SIZES, MAX_IMAGES, Tier
from beam_jobs.config.serving import CALL_TIMEOUT_S
from beam_jobs.images.object_metadata import ImageMetadata
from beam_jobs.prompts.limits import MAX_ROWS, MAX_UNPACKED_BYTES

# How long a stream's prompts wait for their model: long enough for whoever comes in the morning,
# short enough for a drain to end.
MAX_HOLD_S = 6 * 3600.0

# https://cloud.google.com/storage/docs/access-control/signed-urls: V4 signatures end after 7 days.
MAX_SIGNED_URL_HOURS = 7 * 24.0

_STREAM, _BACKFILL = "stream only: ", "backfill only: "
_BEAMS = """\
Beam's own options are accepted too, such as --runner, --project, --region, --temp_location, and
--max_num_workers. They are listed at
https://cloud.google.com/dataflow/docs/reference/pipeline-options and in
apache_beam/options/pipeline_options.py. Every option of the job is explained in docs/usage.md.
"""


class ImagenOptions(PipelineOptions):
    """The options of both jobs. The first three names are older than this project."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument_group("what to read, and where results go").add_argument
        add(
            "--messages_subscription",
            metavar="SUBSCRIPTION",
            help=f"{_STREAM}subscription to read prompts from, as "
            "projects/PROJECT/subscriptions/NAME. Required. Example: "
            "projects/my-project/subscriptions/prompts-sub",
        )
        add(
            "--prompts",
            metavar="GLOB",
            help=f"{_BACKFILL}path or glob of prompt files (.txt, .jsonl, .json or .csv, plain or "
            "gzipped). Required. Example: 'gs://my-project-imagen/prompts/ds=2026-11-01/*'",
        )
        add(
            "--responses_topic",
            metavar="TOPIC",
            help="topic to publish predictions to, as projects/PROJECT/topics/NAME. Required. "
            "Example: projects/my-project/topics/predictions",
        )
        add(
            "--dead_letter_topic",
            metavar="TOPIC",
            help="topic to publish dead letters to, as projects/PROJECT/topics/NAME. Required. "
            "Example: projects/my-project/topics/dead-letters",
        )
        add(
            "--images_output_location",
            metavar="FOLDER",
            help="Cloud Storage folder to store images in, as gs://BUCKET/FOLDER. Required. "
            "Example: gs://my-project-imagen/images",
        )
        add(
            "--plan",
            metavar="FILE",
            help=f"{_BACKFILL}gs:// path of the plan, which says which of the files of --prompts "
            "to read, and in which generations. Any other file becomes a dead letter. Default: "
            "read every file that --prompts matches. Example: gs://my-project-imagen/jobs/r1.jsonl",
        )
        add(
            "--max_rows",
            type=int,
            default=MAX_ROWS,
            metavar="ROWS",
            help=f"{_BACKFILL}maximum rows of one prompt file. What is beyond becomes one dead "
            "letter. Example: 10000",
        )
        add(
            "--max_unpacked_bytes",
            type=int,
            default=MAX_UNPACKED_BYTES,
            metavar="BYTES",
            help=f"{_BACKFILL}maximum bytes of text in one prompt file, after decompression. "
            "What is beyond becomes one dead letter. Example: 100000000",
        )
        add(
            "--report",
            metavar="FILE",
            help=f"{_BACKFILL}path to write the job's counts to, as JSON. Default: no report. "
            "Example: gs://my-project-imagen/reports/2026-11-01.json",
        )
        add(
            "--source",
            metavar="SOURCE",
            help="value of `source` in predictions and dead letters: stream, or backfill:RUN. "
            "Default: stream, or backfill:manual. Example: backfill:2026-11-01",
        )
        add(
            "--canary_keys",
            metavar="FILE",
            help=f"{_STREAM}gs:// path of the public keys that canaries of health checks are "
            "checked with. Default: every canary is refused. Example: "
            "gs://my-project-imagen/keys/canary.json",
        )

        add = parser.add_argument_group("what to make").add_argument
        add(
            "--allowed_models",
            metavar="MODELS",
            help="comma-separated models that a prompt can name. Default: all known Gemini image "
            "models. Example: gemini-3-pro-image,gemini-3.1-flash-image",
        )
        add(
            "--allowed_image_sizes",
            metavar="SIZES",
            help=f"comma-separated image sizes that a prompt can ask for, of "
            f"{', '.join(IMAGE_SIZES)}. Default: all that its model offers. Example: 1K,2K",
        )
        add(
            "--max_images_per_prompt",
            type=int,
            metavar="IMAGES",
            help="maximum images that a prompt can ask for, from 1. "
            f"Default: {MAX_IMAGES}. Example: 1",
        )
        add(
            "--thumbnails",
            choices=("on", "off"),
            default="on",
            help="whether to store a small copy of each image too, for the page. It takes about "
            "40 ms of CPU for an image of 1024 by 1024 pixels, in a thread that uses at most a "
            "quarter of a core. Example: off",
        )
        add(
            "--image_metadata",
            choices=tuple(ImageMetadata),
            default=ImageMetadata.OFF.value,
            help="whether the object of each new image has custom metadata: the prompt's id and "
            "digest, the model, the template, and the cost; with prompt, the prompt's text too. "
            "Whoever may read the image can read it. Example: on",
        )
        add(
            "--signed_url_hours",
            type=float,
            metavar="HOURS",
            help="hours, at most 168, for which predictions have URLs by which anybody can read "
            "their images. The worker's service account has to be allowed to sign. Default: "
            "predictions have none. Example: 24",
        )
        add(
            "--prompt_template",
            metavar="NAME",
            help="prompt template of prompts that name none: templates/prompts/NAME.txt in the "
            "bucket of --images_output_location. Default: these prompts are sent as they are. "
            "Example: studio",
        )

        add = parser.add_argument_group("functions of your own").add_argument
        add(
            "--preprocess",
            metavar="FUNCTION",
            help="custom function that changes each prompt before its digest is known, as "
            "package.module:function. Default: prompts stay as they are. Example: "
            "custom.example:prepare",
        )
        add(
            "--postprocess",
            metavar="FUNCTION",
            help="custom function that changes each image before it is published, as "
            "package.module:function. Default: images stay as the model made them. Example: "
            "custom.example:compress",
        )

        add = parser.add_argument_group("the model").add_argument
        add(
            "--model",
            default=DEFAULT_MODEL,
            metavar="MODEL",
            help="model for prompts that don't name one; `python -m beam_jobs models` lists those "
            "that are known. Example: gemini-3-pro-image",
        )
        add(
            "--fallback_models",
            metavar="MODELS",
            help="comma-separated models to use instead, in this order, while a prompt's own model "
            "refuses every prompt; each makes the prompts that it can. Default: prompts wait. "
            "Example: gemini-3-pro-image",
        )
        add(
            "--model_endpoint",
            metavar="ENDPOINT",
            help="endpoint that serves --model, as "
            "projects/PROJECT/locations/LOCATION/endpoints/ID; or publisher model, as "
            "projects/PROJECT/locations/LOCATION/publishers/PUBLISHER/models/MODEL. Default: the "
            "model is Google's own. Example: "
            "projects/my-project/locations/us-central1/endpoints/1234567890",
        )
        add(
            "--prompt_field",
            metavar="NAME",
            help="field that the container at --model_endpoint takes the prompt's text from: text "
            "for most open models in Model Garden, or - for a container that takes the text "
            "itself. For any but prompt, parameters have Diffusers' names. Default: prompt, as for "
            "Imagen. Example: text",
        )
        add(
            "--model_location",
            metavar="LOCATIONS",
            help="Google Cloud location that serves the models; for Gemini models several, "
            "separated by commas, in the order of preference. With one, all calls go there. "
            "Default: global for Gemini models, the job's region for others. Example: global,us,eu",
        )
        add(
            "--request_tier",
            choices=tuple(Tier),
            default=Tier.STANDARD.value,
            help="flex costs half as much, but a call can take half an hour; priority is faster "
            "under load and costs more. Gemini models only. Example: flex",
        )
        add(
            "--flex_fallback_seconds",
            type=float,
            metavar="SECONDS",
            help="flex only: seconds after which a call that got no answer goes on in standard, "
            "at its full price. Default: it is retried in flex for --max_retry_seconds. Example: "
            "600",
        )

        add = parser.add_argument_group("pace").add_argument
        add(
            "--max_in_flight",
            type=int,
            default=64,
            metavar="CALLS",
            help="maximum concurrent model calls per worker. Example: 16",
        )
        add(
            "--max_requests_per_minute",
            type=float,
            metavar="CALLS",
            help="maximum model calls per minute for the whole job. Busy workers share it; until "
            "they know of each other, each has an even part, by --max_num_workers. Default: only "
            "the model's quota limits them. Example: 300",
        )
        add(
            "--max_retry_seconds",
            type=float,
            default=600.0,
            metavar="SECONDS",
            help="seconds to retry a failing model call or storage request, from its first "
            "failure; the prompt then becomes a dead letter that can be replayed. Example: 120",
        )
        add(
            "--call_timeout_seconds",
            type=float,
            metavar="SECONDS",
            help="timeout of one model call. "
            f"Default: {CALL_TIMEOUT_S:g}, or {FLEX_CALL_TIMEOUT_S:g} in flex. Example: 120",
        )
        add(
            "--max_hold_seconds",
            type=float,
            default=MAX_HOLD_S,
            metavar="SECONDS",
            help=f"{_STREAM}seconds that a prompt waits while its model refuses every prompt, "
            "such as one that is gone; it then becomes a dead letter that can be replayed. A "
            "backfill waits for --max_retry_seconds. Example: 3600",
        )

        add = parser.add_argument_group("money").add_argument
        add(
            "--max_images",
            type=int,
            metavar="IMAGES",
            help="maximum images that the whole job pays for, and whatever else is launched with "
            "the same --source. Prompts beyond it fail as retryable, at no cost. Default: no "
            "limit. Example: 1000",
        )
        add(
            "--max_cost_usd",
            type=float,
            metavar="USD",
            help="maximum US dollars that the same pays for, by what the model's answers state. "
            "Only for models with a known price. Default: no limit. Example: 25",
        )
        add(
            "--max_images_per_hour",
            type=int,
            metavar="IMAGES",
            help=f"{_STREAM}maximum images to pay for in each hour, in UTC. Prompts beyond it "
            "fail as retryable, at no cost. Default: no limit. Example: 500",
        )
        add(
            "--max_images_per_day",
            type=int,
            metavar="IMAGES",
            help=f"{_STREAM}the same for each day, in UTC. Default: no limit. Example: 5000",
        )

        add = parser.add_argument_group("what belongs to others").add_argument
        add(
            "--allowed_projects",
            metavar="PROJECTS",
            help="comma-separated ids or numbers of the projects besides --project whose "
            "endpoints, topics, subscriptions, networks and service accounts the job may use. "
            "Default: none. Example: models-project",
        )
        add(
            "--allowed_buckets",
            metavar="BUCKETS",
            help="comma-separated buckets besides that of --images_output_location that the job "
            "may read and write. Default: none. Example: prompts-bucket",
        )

        add(
            "--reference_buckets",
            metavar="BUCKETS",
            help="comma-separated buckets besides that of --images_output_location whose pictures "
            "prompts may show the model. Default: none. Example: product-photos",
        )


def print_help(
    argv: list[str],
    *,
    job: str,
    description: str | None,
    of_its_own: type[PipelineOptions] | None = None,
    shared: Container[str] | None = None,
) -> bool:
    """Print a job's options if the command line asks for help, and return whether it does.

    Beam's own parser knows no option of ours when it is asked.

    Args:
        argv: the command line.
        job: the name of its module: `stream`, `backfill`, or another job's.
        description: what the job does.
        of_its_own: the options that only this job has, if it is neither of the two.
        shared: which of the two jobs' options it takes; None: all that are not the other one's.
    """
    if not {"-h", "--help"}.intersection(argv):
        return False
    parser = argparse.ArgumentParser(
        prog=f"python -m beam_jobs.{job}",
        usage="%(prog)s --OPTION=VALUE …",
        description=description,
        epilog=_BEAMS,
        formatter_class=_HelpFormatter,
    )
    if of_its_own:
        of_its_own._add_argparse_args(parser)
    first = len(parser._actions)
    ImagenOptions._add_argparse_args(parser)
    for action in parser._actions[first:]:
        of_the_other = (action.help or "").startswith(_BACKFILL if job == "stream" else _STREAM)
        if of_the_other if shared is None else action.dest not in shared:
            action.help = argparse.SUPPRESS
    parser.print_help()
    return True


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Adds the defaults that a help text doesn't name, and breaks no path or URL."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)

    def _get_help_string(self, action: argparse.Action) -> str:
        text = (action.help or "").removeprefix(_STREAM).removeprefix(_BACKFILL)
        if action.default in (None, argparse.SUPPRESS):
            return text
        before, example, after = text.partition(" Example: ")
        default = f"{action.default:g}" if isinstance(action.default, float) else action.default
        return f"{before} Default: {default}.{example}{after}"
