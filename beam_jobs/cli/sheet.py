"""A contact sheet: a page of images with their prompts, which needs only the files in its folder.

Prompts are untrusted and appear as text only. The page runs no scripts and contacts no host.
"""

import datetime
import html
import mimetypes
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from beam_jobs.cli.gallery import download
from beam_jobs.cli.progress import counted
from beam_jobs.prompts.fields import PARAMETERS, Kind
from beam_jobs.prompts.identity import ENDPOINT_PART
from beam_jobs.prompts.references import recorded_references

# A sheet with more prompts than this, about a screenful, begins with a list of them.
_MAX_UNLISTED = 12
_MAX_ALT_CHARS = 200
# Longer captions scroll inside their figure, so they must be reachable by keyboard.
_MAX_OPEN_CHARS = 240
_PICTURES = ("image/png", "image/jpeg", "image/webp")
_POLICY = "script-src 'none'; object-src 'none'; base-uri 'none'; form-action 'none'"
_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --card: #fafafa; --ink: #1b1d21; --line: #d9dce1;
  --quiet: #5c6270; --link: #0b57d0; }
@media (prefers-color-scheme: dark) { :root { --ground: #15171b; --card: #1d2025; --ink: #eceef2;
  --line: #363b44; --quiet: #a3abb8; --link: #a8c7fa; } }
html { scroll-behavior: smooth; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 1500px;
  padding: clamp(12px, 2.5vw, 28px); background: var(--ground); color: var(--ink); }
h1 { font-size: 20px; margin: 0 0 2px; }
header p { color: var(--quiet); margin: 0 0 16px; }
a { color: inherit; text-decoration: none; }
a:hover { color: var(--link); text-decoration: underline; }
:focus-visible { outline: 3px solid var(--link); outline-offset: -3px; }
details { margin: 0 0 20px; border: 1px solid var(--line); border-radius: 10px; }
summary { cursor: pointer; padding: 9px 14px; border-radius: 10px; }
nav ol { columns: 260px; column-gap: 28px; list-style: none; margin: 0; padding: 4px 14px 12px; }
nav li { break-inside: avoid; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
main { display: grid; gap: 18px; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); }
figure { display: flex; flex-direction: column; margin: 0; overflow: hidden; scroll-margin: 16px;
  background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
figure:target { border-color: var(--link); box-shadow: 0 0 0 2px var(--link); }
.images { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: 2px; height: 215px; }
.images a { display: block; overflow: hidden; }
img { width: 100%; height: 215px; object-fit: cover; display: block; }
figcaption { padding: 10px 13px 12px; overflow-wrap: anywhere; display: flex; flex: 1;
  flex-direction: column; gap: 6px; }
.prompt { max-height: 9lh; overflow: auto; white-space: pre-line; }
small { color: var(--quiet); font-size: 12.5px; }
small:first-of-type { margin-top: auto; }
time { white-space: nowrap; }
.shown span { display: block; }
.path { font: 11px/1.4 ui-monospace, monospace; display: block; user-select: all; }
@media (max-width: 560px) { main { grid-template-columns: 1fr; } .images, img { height: 62vw; } }
@media print { details { display: none; } figure { break-inside: avoid; } }
"""


def contact_sheet(
    records: list[dict[str, Any]],
    project: str,
    folder: Path,
    *,
    fetched: Callable[[], None] = lambda: None,
) -> Path:
    """Write `index.html` with the images of `records` beside it, and return its path.

    Args:
        records: the records that the job stores beside its images.
        project: the Google Cloud project used to download them.
        folder: created if it does not exist.
        fetched: called after each downloaded image.
    """
    figures = "".join(
        _figure(_anchor(number, record), record, list(_fetched(record, project, folder, fetched)))
        for number, record in enumerate(records, 1)
    )
    images = counted(sum(len(record["images"]) for record in records), "image")
    title = f"{images} of {counted(len(records), 'prompt')}"
    now = datetime.datetime.now().astimezone().isoformat(" ", "minutes")
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{title}</title><style>{_STYLE}</style>"
        f"<header><h1>{title}</h1><p>As of {html.escape(now)}</p></header>"
        f"{_list(records)}<main>{figures}</main></html>"
    )
    folder.mkdir(parents=True, exist_ok=True)
    sheet = folder / "index.html"
    sheet.write_text(page, encoding="utf-8", errors="replace")
    return sheet


def _list(records: list[dict[str, Any]]) -> str:
    if len(records) <= _MAX_UNLISTED:
        return ""
    items = "".join(
        f'<li><a href="#{_anchor(number, record)}" dir="auto">'
        f"{html.escape(_short(record['prompt']))}</a></li>"
        for number, record in enumerate(records, 1)
    )
    return (
        f'<nav aria-label="Prompts"><details><summary>All {len(records):,} prompts, '
        f"newest first</summary><ol>{items}</ol></details></nav>"
    )


def _anchor(number: int, record: dict[str, Any]) -> str:
    """Return an anchor for a prompt: its digest, the same on each sheet, or its number."""
    digest = str(record.get("digest"))
    return f"prompt-{digest if re.fullmatch('[0-9a-f]{8,64}', digest) else number}"


def _figure(anchor: str, record: dict[str, Any], names: list[str]) -> str:
    text, count = record["prompt"], len(names)
    images = "".join(
        f'<a href="{name}"><img loading="lazy" alt="{_alt(text, index, count)}" src="{name}"></a>'
        for index, name in enumerate((html.escape(quote(name)) for name in names), 1)
    )
    focus = ' tabindex="0"' if len(text) > _MAX_OPEN_CHARS or text.count("\n") > 2 else ""
    paths = "".join(f'<span class="path">{html.escape(path)}</span>' for path in record["images"])
    return (
        f'<figure id="{anchor}"><div class="images">{images}</div><figcaption>'
        f'<div class="prompt"{focus}><a href="#{anchor}" dir="auto">{html.escape(text)}</a></div>'
        f"<small>{' · '.join(_settings(record))}</small>{_references(record)}"
        f"<small>{paths}</small>"
        "</figcaption></figure>"
    )


def _references(record: dict[str, Any]) -> str:
    """Return what the model was shown, with what each picture is for."""
    shown = "".join(
        f'<span class="path">{html.escape(each.path)}</span>'
        + (f"<span>{html.escape(each.role)}</span>" if each.role else "")
        for each in recorded_references(record.get("references"))
    )
    return f'<small class="shown">References {shown}</small>' if shown else ""


def _alt(prompt: str, index: int, count: int) -> str:
    position = f" ({index} of {count})" if count > 1 else ""
    return html.escape(f"{_short(prompt)}{position}")


def _short(prompt: str) -> str:
    text = " ".join(prompt.split())
    return text if len(text) <= _MAX_ALT_CHARS else f"{text[: _MAX_ALT_CHARS - 1]}…"


def _fetched(
    record: dict[str, Any], project: str, folder: Path, fetched: Callable[[], None]
) -> Iterator[str]:
    for path in record["images"]:
        target = download(path, project, folder / "images")
        fetched()
        if mimetypes.guess_type(target.name)[0] in _PICTURES:
            yield f"images/{target.name}"


def _settings(record: dict[str, Any]) -> Iterator[str]:
    served_by = record.get(ENDPOINT_PART)
    yield html.escape(f"{record['model']} on {served_by}" if served_by else record["model"])
    for field in PARAMETERS:
        if field.kind is Kind.PATHS:
            continue  # a line of their own
        if (value := record.get(field.name)) is not None:
            # A choice, such as 16:9, needs no label.
            label = "" if field.kind is Kind.CHOICE else f"{field.name.replace('_', ' ')} "
            yield html.escape(f"{label}{value}")
    if isinstance(usd := record.get("cost_usd"), int | float):
        yield f"{usd:,.4f} USD"
    if created := record.get("created_at"):
        machine = html.escape(created)
        yield f'<time datetime="{machine}">{html.escape(_minute(created))}</time>'


def _minute(created: str) -> str:
    """Return a time to the minute, or the text itself if it is not a time."""
    try:
        time = datetime.datetime.fromisoformat(created)
    except ValueError:
        return created
    return f"{time:%Y-%m-%d %H:%M} {time.tzname() or ''}".rstrip()
