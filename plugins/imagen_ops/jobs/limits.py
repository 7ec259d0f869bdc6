"""The deployment's limits on a form: whose resources a job may use, and what prompts may ask for.

Pure. The settings are the limits. A form can narrow them, and is refused if it goes beyond them.
"""

import dataclasses
from collections.abc import Collection
from typing import Literal

from beam_jobs.allowed import Allowed, names_in
from beam_jobs.catalog import MAX_IMAGES, needs_endpoint
from imagen_ops.jobs.params import JobForm
from imagen_ops.settings import PREFIX, Settings

Template = Literal["stream_template", "backfill_template", "prefetch_template"]


def not_allowed(settings: Settings, form: JobForm, template: Template) -> list[str]:
    """Return what a launch would use or offer beyond the settings, one line each.

    Args:
        settings: of the deployment.
        form: the job fields of a trigger form.
        template: the name of the setting that has the job's template.
    """
    return [
        *_others_resources(settings, form, template),
        *_wider_than_the_settings(settings, form),
    ]


def with_limits(settings: Settings, form: JobForm) -> JobForm:
    """Return a form that is allowed, with the settings' limits where it has none of its own.

    A job and the plan of a backfill take what prompts may ask for from it.
    """
    models = names_in(form.allowed_models) or settings.allowed_models
    if models:
        # An endpoint serves the form's model alone, so the job refuses the deployment's others.
        models = (form.model, *(name for name in models if not needs_endpoint(name)))
    images = form.max_images_per_prompt or settings.max_images_per_prompt
    return dataclasses.replace(
        form,
        allowed_models=",".join(dict.fromkeys(models)) or None,
        allowed_image_sizes=form.allowed_image_sizes
        or ",".join(settings.allowed_image_sizes)
        or None,
        max_images_per_prompt=images if images < MAX_IMAGES else None,
    )


def allowed_of(settings: Settings) -> Allowed:
    """Return where the deployment lets money and data go."""
    return Allowed(
        project=settings.project,
        bucket=settings.bucket,
        projects=settings.allowed_projects,
        buckets=settings.allowed_buckets,
        projects_setting=_setting("allowed_projects"),
        buckets_setting=_setting("allowed_buckets"),
    )


def _others_resources(settings: Settings, form: JobForm, template: Template) -> list[str]:
    allowed = allowed_of(settings)
    subnetwork, account = settings.worker_subnetwork, settings.worker_service_account
    return [
        *allowed.resource("model_endpoint", form.model_endpoint),
        *allowed.network(_setting("worker_subnetwork"), subnetwork),
        *allowed.account(_setting("worker_service_account"), account),
        *allowed.path(_setting(template), getattr(settings, template)),
    ]


def _wider_than_the_settings(settings: Settings, form: JobForm) -> list[str]:
    problems = []
    if models := settings.allowed_models:
        models = (*models, settings.model)
        problems += _not_in("model", [form.model], "allowed_models", models)
        problems += _not_in(
            "allowed_models", names_in(form.allowed_models), "allowed_models", models
        )
    if sizes := settings.allowed_image_sizes:
        asked = names_in(form.allowed_image_sizes)
        problems += _not_in("allowed_image_sizes", asked, "allowed_image_sizes", sizes)
    if (form.max_images_per_prompt or 0) > settings.max_images_per_prompt:
        problems.append(
            f"max_images_per_prompt: {form.max_images_per_prompt} is more than "
            f"{_setting('max_images_per_prompt')} allows, {settings.max_images_per_prompt}; lower "
            "it, or raise the setting"
        )
    return problems


def _not_in(
    field: str, asked: Collection[str], setting: str, allowed: Collection[str]
) -> list[str]:
    return [
        f"{field}: {name[:100]} is not in {_setting(setting)}, which allows "
        f"{', '.join(dict.fromkeys(allowed))}; choose from these, or add it there"
        for name in asked
        if name not in allowed
    ]


def _setting(name: str) -> str:
    return f"{PREFIX}{name.upper()}"
