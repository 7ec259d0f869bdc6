"""The contact sheet as a browser reads it: prompts beside their images, and text only."""

import html.parser
import re

import pytest

from beam_jobs.cli.sheet import contact_sheet

PROJECT = "demo-project"
PNG = b"\x89PNG\r\n\x1a\npicture"
HOSTILE = '"><script>alert(1)</script><img src=x onerror="alert(1)"></title></style>&amp;'


@pytest.fixture
def record(lane):
    """Store a prompt's images and return its record."""
    made = []

    def make(text, images=1, **fields):
        made.append(text)
        digest = f"{len(made):032x}"
        paths = [lane.put(f"images/00/{digest}-{index}.png", PNG) for index in range(images)]
        return {
            "digest": digest,
            "prompt": text,
            "model": "gemini-3.1-flash-image",
            "images": paths,
            "created_at": "2026-11-01T12:34:56+00:00",
            **fields,
        }

    return make


class Sheet(html.parser.HTMLParser):
    """A page as a browser parses it: its tags with their attributes, and its text by element."""

    def __init__(self, page):
        super().__init__()
        self.page, self.tags, self.text, self._open = page, [], "", []
        self.words = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._open.append(tag)

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        self.text += data
        self.words.append((self._open[-1] if self._open else "", data))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def ids(self):
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]

    def links(self):
        return [attributes["href"] for attributes in self.all("a")]


@pytest.fixture
def sheet(cloud, tmp_path):
    def make(*records):
        path = contact_sheet(list(records), PROJECT, tmp_path / "sheet")
        assert path == tmp_path / "sheet" / "index.html"
        return Sheet(path.read_text(encoding="utf-8"))

    return make


def test_every_image_is_beside_its_prompt_and_opens_the_file(sheet, record, tmp_path):
    page = sheet(record("an owl"), record("a fox", images=2, seed=7, aspect_ratio="16:9"))
    assert "3 images of 2 prompts" in page.text
    assert [image["alt"] for image in page.all("img")] == [
        "an owl",
        "a fox (1 of 2)",
        "a fox (2 of 2)",
    ]
    sources = [image["src"] for image in page.all("img")]
    assert [link for link in page.links() if not link.startswith("#")] == sources
    for source in sources:
        assert (tmp_path / "sheet" / source).read_bytes() == PNG


def test_a_caption_has_prompt_model_settings_time_and_path(sheet, record):
    fox = record("a fox", images=2, seed=7, aspect_ratio="16:9", cost_usd=0.13441)
    page = sheet(fox, record("an owl", cost_usd=None))
    assert ("a", "a fox") in page.words
    caption = "gemini-3.1-flash-image · 16:9 · seed 7 · 0.1344 USD · 2026-11-01 12:34 UTC"
    assert caption in page.text
    assert "gemini-3.1-flash-image · 2026-11-01 12:34 UTC" in page.text, "its cost is not known"
    assert page.all("time") == [{"datetime": "2026-11-01T12:34:56+00:00"}] * 2
    assert [data for tag, data in page.words if tag == "span"][:2] == fox["images"]


def test_a_caption_names_the_references_and_what_they_are_for(sheet, record):
    shown = [{"uri": "gs://b/shoe.png", "role": HOSTILE, "content": "md5:x:1"}, {"uri": "gs://b/x"}]
    page = sheet(record("a shoe", references=shown), record("a fox", references="gs://b/a.png"))
    spans = [data for tag, data in page.words if tag == "span"]
    assert spans[:3] == ["gs://b/shoe.png", HOSTILE, "gs://b/x"]
    assert page.text.count("References") == 1
    assert "md5" not in page.page


def test_each_prompt_has_an_anchor_of_its_own_that_its_caption_links_to(sheet, record):
    records = [record("a fox"), record("a fox"), record("an owl", digest="not hex: \"'>")]
    page = sheet(*records)
    first, second = (f"prompt-{found['digest']}" for found in records[:2])
    assert page.ids() == [first, second, "prompt-3"]
    assert [link[1:] for link in page.links() if link.startswith("#")] == page.ids()


def test_more_than_a_screenful_is_listed_at_the_top_and_links_down(sheet, record):
    few = [record(f"prompt {number}") for number in range(12)]
    assert sheet(*few).all("nav") == []
    page = sheet(*few, record("the last"))
    listed = page.links()[:13]
    assert listed == [f"#{name}" for name in page.ids()]
    assert "All 13 prompts, newest first" in page.text
    assert page.text.index("the last") < page.text.index("gemini"), "the list comes first"


def test_a_prompt_cannot_inject_markup(sheet, record):
    records = [record(HOSTILE) for _ in range(13)]
    fields = {"model": HOSTILE, "aspect_ratio": HOSTILE, "seed": HOSTILE, "created_at": HOSTILE}
    page = sheet(*records, record("a fox", **fields))
    plain = sheet(*[record("a fox") for _ in range(13)], record("a fox", aspect_ratio="1", seed=1))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert page.all("img")[0]["alt"] == HOSTILE
    assert ("a", HOSTILE) in page.words
    attributes = {name for _, found in page.tags for name in found}
    assert attributes == {name for _, found in plain.tags for name in found}


def test_the_page_runs_no_script_and_contacts_no_host(sheet, record):
    page = sheet(record("a fox"))
    (policy,) = [meta for meta in page.all("meta") if meta.get("http-equiv")]
    assert "script-src 'none'" in policy["content"]
    assert not page.all("script")
    assert not page.all("link")
    assert not re.search(r"https?://|url\(|@import", page.page)


def test_a_long_prompt_scrolls_within_a_keyboards_reach_and_its_alt_text_is_short(sheet, record):
    page = sheet(record("fox " * 2000), record("a fox"))
    long, short = [found for found in page.all("div") if found.get("class") == "prompt"]
    assert (long.get("tabindex"), short.get("tabindex")) == ("0", None)
    assert len(page.all("img")[0]["alt"]) == 200


def test_prompts_of_every_script_run_in_their_own_direction(sheet, record):
    page = sheet(record("ثعلب في الثلج"))
    (caption,) = [link for link in page.all("a") if link["href"].startswith("#")]
    assert caption["dir"] == "auto"


def test_a_lone_surrogate_does_not_break_the_sheet(sheet, record):
    assert "a ? fox" in sheet(record("a \ud83e fox")).text


def test_it_has_colours_for_light_and_dark(sheet, record):
    page = sheet(record("a fox")).page
    assert "color-scheme: light dark" in page
    light, dark = (
        set(re.findall(r"(--\w+): #", part)) for part in page.partition("@media (prefers")[::2]
    )
    assert light == dark != set()


def test_an_empty_sheet_is_a_page_too(sheet):
    assert "0 images of 0 prompts" in sheet().text


def test_files_that_are_not_images_are_not_shown(lane, sheet):
    path = lane.put("images/ab/x-0.svg", "<svg onload='alert(1)'/>")
    page = sheet({"prompt": "a fox", "images": [path], "model": "m"})
    assert page.all("img") == []


def test_the_callback_runs_for_each_downloaded_image(record, tmp_path):
    fetched = []
    records = [record("a fox", images=2), record("an owl")]
    contact_sheet(records, PROJECT, tmp_path, fetched=lambda: fetched.append(1))
    assert len(fetched) == 3
