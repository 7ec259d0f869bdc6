"""The prompts of a backfill's planned files, read as its job will read them.

Must not import Google's client: whoever reads brings one.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from beam_jobs.outcomes import Failure
from beam_jobs.prompts.contents import text_chunks
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.globs import PromptGlob
from beam_jobs.prompts.limits import FileLimits
from beam_jobs.prompts.lines import lines_of
from beam_jobs.prompts.listing import ListedFile, list_files
from beam_jobs.prompts.parse import Prompt, parse
from beam_jobs.prompts.plan_file import as_planned, planned_files
from beam_jobs.prompts.rows import PromptFileReader
from beam_jobs.prompts.stored_object import StoredObject
from beam_jobs.prompts.template_folder import TemplateFolder

if TYPE_CHECKING:
    from google.cloud.storage import Client


class PlannedPrompts:
    """What the planned files of a backfill hold.

    Args:
        client: must be allowed to list and read prompt files, the plan and templates.
        plan: gs:// path of the plan.
        prompts: gs:// path or glob that was planned.
        defaults: what the job's options set for its prompts.
        limits: how much of each file the job reads.
        templates_bucket: the bucket of the prompt templates.
    """

    def __init__(
        self,
        client: "Client",
        *,
        plan: str,
        prompts: str,
        defaults: PromptDefaults,
        limits: FileLimits,
        templates_bucket: str,
    ) -> None:
        self._client = client
        self._plan = plan
        self._glob = PromptGlob.parse(prompts)
        self._defaults = defaults
        self._limits = limits
        self._templates = TemplateFolder(lambda: client, templates_bucket)

    def items(self) -> Iterator[Prompt | None]:
        """Yield each prompt, and None for what the job will report as invalid.

        Raises:
            ValueError: the plan cannot be understood.
            google.api_core.exceptions.GoogleAPICallError, google.auth.exceptions.GoogleAuthError,
            OSError: Cloud Storage does not answer, or refuses for a reason not of one file.
        """
        for file in self._files():
            if isinstance(file, Failure):
                yield None
            else:
                yield from self._prompts_in(file)

    def _files(self) -> Iterator[ListedFile | Failure]:
        bucket, _, name = self._plan.removeprefix("gs://").partition("/")
        current = self._client.bucket(bucket).blob(name)
        current.reload()
        stored = StoredObject(
            self._client.bucket(bucket).blob(name, generation=current.generation),
            int(current.size or 0),
        )
        yield from as_planned(
            planned_files(lines_of(text_chunks(stored))),
            list_files(self._client, self._glob),
            bucket=self._glob.bucket,
            source=self._defaults.source,
        )

    def _prompts_in(self, file: ListedFile) -> Iterator[Prompt | None]:
        from google.api_core.exceptions import Forbidden, NotFound

        blob = self._client.bucket(self._glob.bucket).blob(file.name, generation=file.generation)
        stored = StoredObject(blob, file.size)
        reader = PromptFileReader(
            self._glob.object_url(file.name),
            self._defaults.source,
            self._limits,
            templated=self._defaults.template is not None,
        )
        for row in reader.read(lambda: stored):
            if isinstance(row, Failure):
                yield None
                continue
            item = parse(
                row.body,
                row.attributes,
                origin=row.origin,
                defaults=self._defaults,
                find_template=self._templates.find,
            )
            yield item if isinstance(item, Prompt) else None
        # Whatever is about this one file is a failure of the job, too.
        if stored.error is not None and not isinstance(stored.error, Forbidden | NotFound):
            raise stored.error
