"""Which data a task has read and written, as OpenLineage names it.

Airflow's OpenLineage provider is optional. If it is installed and has a transport, it asks each
task that has ended (`get_openlineage_facets_on_complete`, in `imagen_ops.dag.tasks`). Without it,
nothing here is called, and nothing of it is imported.

Names follow OpenLineage's conventions (https://openlineage.io/docs/spec/naming), in the form of its
Python client (`openlineage.client.naming.dataset`) and of Airflow's Google provider.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from beam_jobs.names import ARCHIVE_FOLDER
from beam_jobs.prompts.globs import PromptGlob

if TYPE_CHECKING:
    from imagen_ops.settings import Settings

# The tables that composer.tf makes in the setting's dataset.
TABLES = ("predictions", "dead_letters")


@dataclass(frozen=True, slots=True)
class Dataset:
    """Data by the names that other tools of OpenLineage give it too.

    Attributes:
        namespace: of its source, such as `gs://BUCKET`.
        name: within the namespace.
    """

    namespace: str
    name: str

    @classmethod
    def topic(cls, project: str, name: str) -> Self:
        """Return a Pub/Sub topic.

        A subscription is named by its topic too, so that who publishes is linked to who subscribes.
        """
        return cls("pubsub", f"topic:{project}:{name}")

    @classmethod
    def folder(cls, url: str) -> Self:
        """Return a folder in Cloud Storage, gs://BUCKET/NAME."""
        bucket, _, name = url.removeprefix("gs://").partition("/")
        return cls(f"gs://{bucket}", name.rstrip("/"))

    @classmethod
    def files(cls, glob: str) -> Self:
        """Return the files of a glob, gs://BUCKET/PATTERN: one object, or the folder of them.

        Raises:
            GlobError: it is no such glob.
        """
        parsed = PromptGlob.parse(glob)
        name = parsed.prefix if parsed.is_one_object else parsed.prefix.rpartition("/")[0]
        return cls(f"gs://{parsed.bucket}", name or "/")

    @classmethod
    def table(cls, project: str, dataset: str, name: str) -> Self:
        """Return a BigQuery table."""
        return cls("bigquery", f"{project}.{dataset}.{name}")


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a task has read, and what it, or the job that it waited for, has written."""

    inputs: tuple[Dataset, ...] = ()
    outputs: tuple[Dataset, ...] = ()

    @classmethod
    def of_job(cls, settings: "Settings", *inputs: Dataset) -> Self:
        """Return what a job that makes images reads and writes.

        Args:
            settings: of the deployment.
            inputs: where its prompts come from.
        """
        return cls(inputs, (Dataset.folder(settings.images_location), *_messages(settings)))

    @classmethod
    def of_stream(cls, settings: "Settings") -> Self:
        """Return what the stream reads and writes."""
        return cls.of_job(settings, Dataset.topic(settings.project, settings.prompts_topic))

    @classmethod
    def of_import(cls, settings: "Settings", folder: str) -> Self:
        """Return what the job reads and writes that stores the images of batch inference.

        Args:
            settings: of the deployment.
            folder: of the run's prefetch, gs://BUCKET/NAME.
        """
        return cls((Dataset.folder(folder),), (Dataset.folder(settings.images_location),))

    @classmethod
    def of_replay(cls, settings: "Settings") -> Self:
        """Return what a replay of dead letters reads and writes."""
        return cls(
            (Dataset.topic(settings.project, settings.dead_letters_topic),),
            (
                Dataset.topic(settings.project, settings.prompts_topic),
                Dataset.folder(f"gs://{settings.bucket}/{ARCHIVE_FOLDER}"),
            ),
        )

    def to_openlineage(self) -> Any:
        """Return the provider's `OperatorLineage`. The provider has to be installed."""
        from airflow.providers.openlineage.extractors import OperatorLineage
        from openlineage.client.event_v2 import InputDataset, OutputDataset

        return OperatorLineage(
            inputs=[InputDataset(each.namespace, each.name) for each in self.inputs],
            outputs=[OutputDataset(each.namespace, each.name) for each in self.outputs],
        )


def _messages(settings: "Settings") -> tuple[Dataset, ...]:
    """Return where predictions and dead letters go: topics, and tables if there are any."""
    project, dataset = settings.project, settings.bigquery_dataset
    topics = (settings.predictions_topic, settings.dead_letters_topic)
    return (
        *(Dataset.topic(project, name) for name in topics),
        *(Dataset.table(project, dataset, name) for name in TABLES if dataset),
    )
