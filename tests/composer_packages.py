"""What Airflow has on Composer, and not in `.venv`: the FAB and the OpenLineage provider."""

import importlib.util
import os

import pytest

from tests.conftest import ROOT

FOLDER = ROOT / ".venv-composer"
"""Where `make install-composer` puts it."""


def python_path(provider: str) -> str:
    """Return the PYTHONPATH of processes that need a provider; skip the test where it is missing.

    Args:
        provider: its package, such as `airflow.providers.fab`.
    """
    if importlib.util.find_spec(provider):
        return str(ROOT)
    if not (FOLDER / provider.replace(".", "/")).is_dir():
        pytest.skip(f"{provider} is not here: make install-composer")
    return os.pathsep.join([str(ROOT), str(FOLDER)])
