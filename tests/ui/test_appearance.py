"""Layout, colours, accessibility and speed: on a phone, on a wall screen, light and dark."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser import Watched, faults, overflow, resize
from tests.conftest import eventually
from tests.ui import samples
from tests.ui.site import Site

pytestmark = pytest.mark.slow

WIDTHS = (360, 768, 1280, 2560, 3840)


def full(site: Site) -> None:
    """Show the page after a day of work."""
    site.images = samples.images(48)


def empty(site: Site) -> None:
    site.empty()


def failing(site: Site) -> None:
    site.fail(*samples.PANELS)
    # Google's client quotes addresses.
    site.errors["images"] = site.errors["plots"] = "503: GET http://" + "storage/" * 40
    site.causes = {"images": "storage", "plots": "storage"}


def hostile(site: Site) -> None:
    site.images = samples.images(60, prompts=samples.HOSTILE)
    site.letters = samples.letters(samples.HOSTILE)
    # Users choose the ids of runs, of prompts, and their names.
    site.letters[0]["source"] = "backfill:" + "s" * 200
    site.letters[1]["prompt_id"] = "p" * 128
    site.data["done"]["runs"][0] |= {"by": "u" * 200, "form": {"x" * 200: "y" * 2000}}
    site.data["stream"]["check"]["reasons"][0]["text"] = "x" * 3000
    site.data["stream"]["job"]["id"] = "j" * 300
    site.data["backfills"]["runs"][0].update(
        run_id="r" * 250, prompts="gs://b/" + "p" * 500, noted=["n" * 400]
    )
    site.data["actions"] = samples.actions(allowed=False, user="u" * 200)


STATES = (full, empty, failing, hostile)


@pytest.mark.parametrize("state", STATES)
def test_no_width_makes_it_scroll_sideways(
    site: Site, visit: Callable[..., Page], state: Callable[[Site], None]
) -> None:
    state(site)
    page = visit(width=WIDTHS[0])
    for summary in page.locator(
        ".all-of-them summary, .by-hour summary, .more-of-it summary"
    ).all():
        if summary.is_visible():
            summary.click()
    for width in WIDTHS:
        resize(page, width)
        assert overflow(page) == [], f"at {width} px"
        if state is hostile:
            page.locator(".tile").nth(7).click()
            dialog = page.locator("dialog[open]").bounding_box()
            assert dialog["x"] >= 0
            assert dialog["x"] + dialog["width"] <= width
            assert dialog["y"] + dialog["height"] <= 900
            page.keyboard.press("Escape")


def test_there_are_as_many_columns_as_fit(site: Site, visit: Callable[..., Page]) -> None:
    site.images = samples.images(48)
    page = visit(width=360)

    def across(selector: str) -> int:
        tops = page.locator(selector).evaluate_all(
            "all => all.map(n => Math.round(n.getBoundingClientRect().left))"
        )
        return len(set(tops))

    seen = {}
    for width in (360, 1280, 2560):
        resize(page, width)
        seen[width] = (
            across("main > section"),
            across(".chart:not([data-plot=status])"),
            across(".grid li"),
        )
    assert seen[360] == (1, 1, 2)
    assert seen[1280][:2] == (2, 3)
    assert seen[2560][:2] == (2, 6)
    assert seen[360][2] < seen[1280][2]


def test_where_a_table_does_not_fit_each_value_is_under_its_label(
    visit: Callable[..., Page],
) -> None:
    page = visit(width=360)
    cells = page.locator(".runs tbody tr").first.locator("td")
    before = "all => all.map(cell => getComputedStyle(cell, '::before').content)"
    names = [
        "Planned",
        "Predictions",
        "Already stored",
        "Dead letters",
        "Cost",
        "Accounted for",
    ]

    assert cells.evaluate_all(before) == [f'"{name}"' for name in names]
    assert len({cell.bounding_box()["y"] for cell in cells.all()}) > 1
    chips = page.locator(".reasons .chip, .reasons .text").all()
    assert len({chip.bounding_box()["x"] for chip in chips}) == 1

    resize(page, 1280)
    assert cells.evaluate_all(before) == ["none"] * len(names)
    assert len({cell.bounding_box()["y"] for cell in cells.all()}) == 1


def test_on_a_phone_an_image_and_its_details_share_the_screen(
    visit: Callable[..., Page],
) -> None:
    page = visit(width=360, height=740)
    page.locator(".tile").first.click()
    stage, about = (page.locator(f"dialog {part}").bounding_box() for part in (".stage", ".about"))

    assert stage["width"] == about["width"]
    assert stage["y"] + stage["height"] <= about["y"] + 1
    assert min(stage["height"], about["height"]) > 250


def test_the_verdict_has_its_colour_and_the_focus_is_visible(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit()

    def ground() -> str:
        return str(page.locator(".badge").evaluate("n => getComputedStyle(n).backgroundColor"))

    seen = {}
    for status in ("HEALTHY", "DEGRADED", "DOWN"):
        site.data["stream"] = samples.stream(status)
        page.get_by_role("button", name="Refresh now").click()
        expect(page.locator(".badge .word")).to_have_text(status)
        seen[status] = ground()
    assert seen == {
        "HEALTHY": "rgb(22, 101, 52)",
        "DEGRADED": "rgb(255, 197, 61)",
        "DOWN": "rgb(185, 28, 28)",
    }
    for selector in (".buttons a", ".time-slider", ".tile", ".by-reason button"):
        page.locator(selector).first.focus()
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Tab")
        outline = page.locator(selector).first.evaluate(
            "n => [getComputedStyle(n).outlineStyle, parseFloat(getComputedStyle(n).outlineWidth)]"
        )
        assert outline == ["solid", pytest.approx(2, abs=0.5)], selector


def test_dark_is_dark_and_light_is_light(visit: Callable[..., Page]) -> None:
    def colours(page: Page) -> tuple[int, int]:
        ground, text = page.locator("body").evaluate(
            """body => ["backgroundColor", "color"].map((name) =>
                getComputedStyle(body)[name].match(/[0-9]+/g).slice(0, 3)
                    .reduce((sum, part) => sum + Number(part), 0))"""
        )
        return ground, text

    page = visit()
    ground, text = colours(page)
    assert ground > 700 > 150 > text
    page.emulate_media(color_scheme="dark")
    ground, text = colours(page)
    assert ground < 100 < 650 < text


@pytest.mark.parametrize("state", STATES)
def test_axe_finds_no_serious_fault_light_or_dark(
    site: Site, visit: Callable[..., Page], state: Callable[[Site], None]
) -> None:
    state(site)
    site.images = site.images[:9]
    page = visit(width=1440)
    for summary in page.locator(".by-reason summary, .by-hour summary").all():
        if summary.is_visible():
            summary.click()
    assert faults(page) == []
    # Between light and dark only the colours differ.
    page.emulate_media(color_scheme="dark")
    assert faults(page, runOnly=["color-contrast", "link-in-text-block"]) == []


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_axe_finds_no_serious_fault_with_an_image_open_or_the_login_expired(
    site: Site, visit: Callable[..., Page], watched: Watched, width: int, scheme: str
) -> None:
    watched.may_fail = True
    page = visit(width=width, dark=scheme == "dark")
    page.locator(".tile").first.click()
    assert faults(page) == []
    page.keyboard.press("Escape")

    site.data["stream"] = samples.stream("DOWN", stale=True)
    site.fail("plots")
    site.statuses["images"] = 401
    page.get_by_role("button", name="Refresh now").click()
    expect(page.get_by_role("alert")).to_contain_text("login has expired")
    assert faults(page) == []


def test_everything_can_be_reached_by_the_keyboard_in_the_order_of_reading(
    visit: Callable[..., Page],
) -> None:
    page = visit()
    sections = []
    for _ in range(120):
        page.keyboard.press("Tab")
        place = page.evaluate("document.activeElement.closest('section, header')?.id || 'top'")
        if place not in sections:
            sections.append(place)
        if len(sections) == len(samples.PANELS) + 1:
            break
    assert sections == ["top", *samples.PANELS]


def test_the_first_load_requests_each_file_once_and_paints_soon(
    site: Site, visit: Callable[..., Page], watched: Watched, record_property: Callable[..., None]
) -> None:
    site.images = samples.images(60)
    page = visit(width=1920, height=1080, alone=True, still=True)
    expect(page.locator(".tile")).to_have_count(48)

    asked = [url.removeprefix(f"{site.url}/imagen/") for url in watched.requests]
    # The icon is used by the tab and by the page.
    twice = {url for url in asked if asked.count(url) > 1} - {"assets/icon.svg"}
    assert twice == set()
    files = {name for name in site.files if name.endswith((".js", ".css"))}
    assert {url.removeprefix("assets/") for url in asked if url.endswith((".js", ".css"))} == files
    assert sum(url.startswith("api/") for url in asked) == len(samples.PANELS)
    painted = "performance.getEntriesByName('first-contentful-paint')"
    eventually(lambda: page.evaluate(f"{painted}.length"), what="a first paint")
    first, complete = page.evaluate(f"[{painted}[0].startTime, window.completeAt]")
    record_property("first_contentful_paint_ms", round(first))
    record_property("every_panel_shown_ms", round(complete))
    print(f"first paint after {first:.0f} ms, every panel after {complete:.0f} ms")


def test_scripts_are_fetched_in_parallel(site: Site) -> None:
    page = site.files["index.html"].content.decode()
    scripts = {name for name in site.files if name.endswith(".js")}

    assert {name for name in scripts if f'"assets/{name}"' in page} == scripts
