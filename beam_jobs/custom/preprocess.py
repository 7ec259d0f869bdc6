"""Lets a custom function change prompts before they are told apart: translate, enrich, or refuse.

It sees prompts alone: no canary, and nothing that is a failure already. Whatever it does, a prompt
becomes prompts that the parser accepts, or one failure.
"""

import dataclasses
import functools
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from beam_jobs.custom.function import CustomFunction, CustomFunctionError, Refusal
from beam_jobs.custom.guarded import TIMEOUT_S, GuardedCalls, WrongResultError
from beam_jobs.custom.results import KeptResults
from beam_jobs.images.location import Location
from beam_jobs.outcomes import Failure, Reason
from beam_jobs.prompts.body import InvalidPromptError
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.limits import MAX_PROMPTS_OF_ONE
from beam_jobs.prompts.parse import Prompt
from beam_jobs.prompts.revision import fields_of_revision, revised

if TYPE_CHECKING:
    from google.cloud.storage import Client

# A function that asks a service waits most of the time. With 1 s each, these are 16 prompts a
# second and worker; with a model of 15 s, a worker makes 4 images.
AT_ONCE = 16
_MAX_DETAIL_CHARS = 500

_Made = tuple[list[dict[str, Any]], list[Prompt]]


class Preprocess:
    """Calls a job's preprocess function. Safe to use from several threads.

    Args:
        function: the function.
        defaults: what the job's options set for its prompts.
        kept: what it has made already.
        timeout_s: seconds after which a call is abandoned.
    """

    def __init__(
        self,
        function: CustomFunction,
        defaults: PromptDefaults,
        kept: KeptResults,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._function = function
        self._defaults = defaults
        self._kept = kept
        self._call = GuardedCalls[Prompt, Failure | _Made](
            function, give=_read_only, check=self._checked, timeout_s=timeout_s
        )
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="imagen-preprocess")

    def start(self, prompt: Prompt) -> Future[list[Prompt | Failure]]:
        """Begin with a prompt, and return what becomes of it, in the future. That never raises."""
        return self._pool.submit(self.prompts, prompt)

    def prompts(self, prompt: Prompt) -> list[Prompt | Failure]:
        """Return the prompts that the function makes of one, or its failure. Never raises."""
        fail = functools.partial(_failure, prompt, self._defaults.source)
        try:
            fields = self._kept.find(prompt)
            if fields is not None:
                try:
                    return list(self._revised(prompt, fields))
                except InvalidPromptError:
                    fields = None  # the job accepts less than the one that kept it
            made = self._call(prompt)
            if isinstance(made, Failure):
                return [made]
            fields, prompts = made
            kept = self._kept.keep(prompt, fields, [each.digest for each in prompts])
            return list(prompts if kept == fields else self._revised(prompt, kept))
        except CustomFunctionError as error:
            return [fail(Reason.CUSTOM_FUNCTION_FAILED, str(error), retryable=True)]
        except InvalidPromptError as error:
            detail = f"{self._function} made an invalid prompt before: {error}"
            return [fail(Reason.CUSTOM_FUNCTION_FAILED, detail, retryable=True)]
        except Exception as error:  # storage
            detail = f"{self._function}: {type(error).__name__}: {error}"
            return [fail(Reason.STORAGE_ERROR, detail, retryable=True)]

    def _checked(self, prompt: Prompt, returned: Any) -> Failure | _Made:
        """Return what a function's result stands for.

        Raises:
            WrongResultError: it stands for nothing.
        """
        if isinstance(returned, Refusal | Failure):
            return self._refused(prompt, returned)
        prompts = returned if isinstance(returned, list | tuple) else [returned]
        if not prompts:
            raise WrongResultError("an empty list; expected a prompt, or a Refusal to make none")
        if len(prompts) > MAX_PROMPTS_OF_ONE:
            raise WrongResultError(f"{len(prompts):,} prompts; the limit is {MAX_PROMPTS_OF_ONE}")
        for each in prompts:
            if not isinstance(each, Prompt):
                raise WrongResultError(
                    f"{type(each).__name__}; expected a Prompt, a list of these, or a Refusal"
                )
        try:
            fields = [fields_of_revision(prompt, each) for each in prompts]
            return fields, self._revised(prompt, fields)
        except InvalidPromptError as error:
            raise WrongResultError(f"an invalid prompt: {error}") from None

    def _refused(self, prompt: Prompt, returned: Refusal | Failure) -> Failure:
        reason, retryable = Reason.BLOCKED, False
        if isinstance(returned, Failure):
            reason, retryable = returned.reason, returned.retryable
        detail = returned.detail
        if not (
            isinstance(reason, Reason) and isinstance(retryable, bool) and isinstance(detail, str)
        ):
            raise WrongResultError(f"a {type(returned).__name__} with a field of another type")
        detail = f"refused by {self._function}: {detail or 'it says nothing'}"
        return _failure(prompt, self._defaults.source, reason, detail, retryable=retryable)

    def _revised(self, prompt: Prompt, fields: Sequence[dict[str, Any]]) -> list[Prompt]:
        several = len(fields) > 1
        return [
            revised(prompt, each, self._defaults, number=number if several else None)
            for number, each in enumerate(fields, start=1)
        ]


def _read_only(prompt: Prompt) -> Prompt:
    """Return a copy, whose attributes cannot be changed in place."""
    return dataclasses.replace(prompt, attributes=MappingProxyType(dict(prompt.attributes)))


def _failure(
    prompt: Prompt, source: str, reason: Reason, detail: str, *, retryable: bool
) -> Failure:
    return Failure(
        prompt_id=prompt.prompt_id,
        deduplication_key=prompt.deduplication_key,
        reason=reason,
        detail=detail[:_MAX_DETAIL_CHARS],
        retryable=retryable,
        attempts=0,
        body=prompt.body,
        attributes=prompt.attributes,
        source=source,
        template=prompt.template or "",
    )


@functools.cache
def preprocess_of(
    function: CustomFunction, defaults: PromptDefaults, location: Location, max_retry_s: float
) -> Preprocess:
    """Return what this process calls a job's function with.

    Args:
        function: the function.
        defaults: what the job's options set for its prompts.
        location: the image folder.
        max_retry_s: how many seconds a failing request to storage is retried.
    """
    kept = KeptResults(_client, location, function.identity, max_retry_s)
    return Preprocess(function, defaults, kept)


@functools.cache
def _client() -> "Client":
    from google.cloud import storage

    # Access to objects depends on the bucket, so no project is needed.
    return storage.Client(project=None)
