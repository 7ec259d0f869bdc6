"""A custom function: how an option names it, how it is found, and what it can answer with.

Only the job's options name one. Nothing of a prompt or of a trigger form does: whoever names a
function runs code with the rights of the workers.
"""

import dataclasses
import functools
import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any

from beam_jobs.allowed import CUSTOM_FUNCTION_PATTERN
from beam_jobs.shown import shown

_NAME = re.compile(CUSTOM_FUNCTION_PATTERN)
_VERSION = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_MAX_ERROR_CHARS = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """What a custom function returns for a prompt or an image that is not to be used.

    The prompt becomes a dead letter that nobody replays, with the reason `BLOCKED`.

    Args:
        detail: why, in words for whoever sent the prompt.
    """

    detail: str


class CustomFunctionError(Exception):
    """A custom function did not do its work. The text says what happened and what to do."""


@dataclasses.dataclass(frozen=True, slots=True)
class CustomFunction:
    """A function that is there.

    Attributes:
        option: that names it: `--preprocess` or `--postprocess`.
        name: MODULE:FUNCTION.
        version: what its module says in `VERSION`.
    """

    option: str
    name: str
    version: str

    @classmethod
    def named(cls, option: str, name: str) -> "CustomFunction":
        """Return the function of a name, once its module is imported.

        Args:
            option: that names it.
            name: MODULE:FUNCTION.

        Raises:
            CustomFunctionError: there is none, or its module has no version.
        """
        if not _NAME.fullmatch(name):
            raise CustomFunctionError(
                f"expected package.module:function, such as custom.example:prepare, got "
                f"{shown(ascii(name), 100)}"
            )
        _, version = _found(name)
        return cls(option, name, version)

    @property
    def identity(self) -> str:
        """What tells it from other functions and versions: MODULE:FUNCTION@VERSION."""
        return f"{self.name}@{self.version}"

    def __str__(self) -> str:
        return f"{self.option} {self.name}"

    def load(self) -> Callable[[Any], Any]:
        """Return the function itself.

        Raises:
            CustomFunctionError: it is not there any more, or another version of it is.
        """
        function, version = _found(self.name)
        if version != self.version:
            raise CustomFunctionError(
                f"{self} has the version {version} on this worker, but the job was started with "
                f"{self.version}; start the job again from the image that the workers have"
            )
        return function


@functools.lru_cache(maxsize=16)
def _found(name: str) -> tuple[Callable[[Any], Any], str]:
    """Return a function and the version of its module.

    Raises:
        CustomFunctionError: there is none, or its module has no version.
    """
    module_name, _, function_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except BaseException as error:  # a module can do anything, such as end the program
        if isinstance(error, KeyboardInterrupt):
            raise
        raise CustomFunctionError(
            f"{module_name} cannot be imported: {_described(error)}; put it into the folder "
            "custom/, or another one on PYTHONPATH, and into the image of the workers: "
            "docs/custom-functions.md"
        ) from None
    function = getattr(module, function_name, None)
    if not callable(function):
        raise CustomFunctionError(
            f"{module_name} has no function {function_name}; correct the name, or add it"
        )
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise CustomFunctionError(
            f"{name} is asynchronous or a generator; expected a plain function, which runs in a "
            "thread of its own"
        )
    version = getattr(module, "VERSION", None)
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise CustomFunctionError(
            f'{module_name} needs a version, as in VERSION = "1", of up to 64 letters, digits '
            "and . _ -; change it whenever its functions make something else"
        )
    return function, version


def _described(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = ""
    return shown(f"{type(error).__name__}: {text}", _MAX_ERROR_CHARS)
