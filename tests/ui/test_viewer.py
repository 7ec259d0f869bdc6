"""The viewer: a prompt's other images, its record, its run, and the command to send it again."""

import json
import shlex
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from beam_jobs import __main__ as command_line
from beam_jobs.catalog import Family
from beam_jobs.cli import publish
from beam_jobs.prompts.parse import Prompt
from imagen_ops.ui.panels.record import read_record
from tests.beam_jobs.prompts.test_fields import everything, parsed
from tests.browser import faults, overflow, resize
from tests.plugins.imagen_ops.ui.conftest import Stored, storage, stored
from tests.plugins.imagen_ops.ui.test_record import stored_by_a_job
from tests.ui import samples
from tests.ui.site import Site

__all__ = ["storage", "stored"]

pytestmark = pytest.mark.slow


def digest(number: int) -> str:
    return f"{number:032x}"


def test_the_record_adds_the_whole_prompt_its_images_and_the_command(
    site: Site, visit: Callable[..., Page]
) -> None:
    whole = '-it\'s a "fox"; $(echo no) `x` \\ ' + "long " * 300 + "end"
    first, *_ = site.images = samples.images(3)
    first |= {
        "prompt": whole[:500],
        "attributes": {"tenant": "acme & co"},
        "source": "backfill:a__b",
        "template": "studio@17",
        "parameters": {**first["parameters"], "references": "gs://b/a.png gs://b/a b.pn"},
    }
    site.records[digest(0)] = {
        "path": "gs://b/images/00/record.json",
        "problem": None,
        "prompt": whole,
        "model": "m-1",
        "parameters": {"seed": 7, "aspect_ratio": "16:9"},
        "job_options": {"model_endpoint": "projects/p/locations/l/endpoints/1"},
        "references": [
            {"path": "gs://b/a.png", "role": None, "url": first["url"], "problem": None},
            {"path": "gs://b/a b.png", "role": "It's <b>it</b>", "url": "//evil.example/x.png"},
            {"path": "gs://b/gone.png", "role": None, "url": None, "problem": "It is gone."},
        ],
        "images": [
            {
                "path": first["path"].replace("-0.png", f"-{n}.png"),
                "url": first["url"].replace("-0.png", f"-{n}.png"),
            }
            for n in range(3)
        ],
    }
    page = visit()
    page.locator(".tile").first.click()
    dialog = page.locator("dialog[open]")
    expect(dialog.locator(".prompt")).to_have_text(whole)
    expect(dialog.get_by_text("gs://b/images/00/record.json")).to_be_visible()
    run = dialog.get_by_role("link", name="backfill:a__b")
    expect(run).to_have_attribute("href", f"{site.url}/dags/imagen_backfill/runs/a__b")
    expect(dialog.locator(".download")).to_have_attribute("download", f"{digest(0)}-0.png")

    siblings = dialog.get_by_role("list", name="Images of this prompt").get_by_role("button")
    expect(siblings).to_have_count(3)
    siblings.nth(2).click()
    expect(dialog.locator(".path code")).to_have_text(first["path"].replace("-0.png", "-2.png"))
    expect(siblings.nth(2)).to_have_attribute("aria-current", "true")

    shown = dialog.get_by_role("list", name="References of this prompt").get_by_role("listitem")
    expect(shown.locator("code")).to_have_text(
        ["gs://b/a.png", "gs://b/a b.png", "gs://b/gone.png"]
    )
    expect(shown.nth(0).locator("img")).to_have_attribute("src", f"{page.url}{first['url']}")
    expect(shown.locator("img")).to_have_count(1)
    expect(shown.nth(1)).to_contain_text("It's <b>it</b>")
    expect(shown.nth(2)).to_contain_text("It is gone.")
    expect(dialog.locator(".facts")).to_contain_text("studio@17")
    expect(dialog.locator(".facts")).to_contain_text("projects/p/locations/l/endpoints/1")
    expect(dialog.locator(".facts")).not_to_contain_text("References")

    # A shell reads the command as it is meant, whatever the prompt has in it.
    dialog.locator(".again summary").click()
    command = dialog.locator(".again code").text_content() or ""
    assert shlex.split(command) == [
        "scripts/publish_prompt.sh",
        "--no-reuse",
        "--model=m-1",
        "--images=3",
        "--aspect-ratio=16:9",
        "--seed=7",
        "--reference=gs://b/a.png",
        '--reference={"uri":"gs://b/a b.png","role":"It\'s <b>it</b>"}',
        "--reference=gs://b/gone.png",
        "--attribute=tenant=acme & co",
        "--",
        whole,
    ]
    dialog.get_by_role("button", name="Copy prompt").click()
    expect(dialog.locator(".copies .feedback")).not_to_be_empty()
    assert faults(page, runOnly=["wcag2a", "wcag2aa"]) == []
    for width in (360, 2560):
        resize(page, width)
        assert overflow(page) == []

    # The arrow keys go on from the image that was opened.
    page.keyboard.press("ArrowRight")
    expect(dialog.locator(".prompt")).to_have_text(site.images[1]["prompt"])
    expect(dialog.locator(".facts")).to_contain_text("Gone.")
    expect(siblings).to_have_count(0)
    page.keyboard.press("ArrowLeft")
    expect(dialog.locator(".prompt")).to_have_text(whole)


@pytest.mark.parametrize("family", list(Family))
def test_the_command_publishes_every_field_of_a_prompt_that_a_job_has_recorded(
    family: Family,
    site: Site,
    visit: Callable[..., Page],
    stored: Stored,
    storage: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prompt = everything(family)
    # The browser's event loop runs in this thread.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(stored_by_a_job, prompt).result()
        record = thread.submit(read_record, storage, prompt.digest).result()
    site.records[prompt.digest] = record
    shown, *_ = site.images = samples.images(1)
    shown |= {**record["images"][0], "parameters": {}}
    page = visit()
    page.locator(".tile").first.click()
    command = page.locator("dialog[open] .again code")
    expect(command).to_contain_text(f"--model={prompt.model}")

    bodies: list[bytes] = []
    monkeypatch.setattr(
        publish, "publish", lambda topic, sent, *_, **__: bodies.extend(sent) or ["1"]
    )
    script, *arguments = shlex.split(command.text_content() or "")
    assert script == "scripts/publish_prompt.sh"
    assert command_line.main(["--project=p", "publish", *arguments]) == 0
    (fields,) = map(json.loads, bodies)
    assert fields.pop("reuse") is False
    again = parsed(family, **fields)
    assert isinstance(again, Prompt)
    assert again.deciding == prompt.deciding
