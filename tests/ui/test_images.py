"""The newest images: the grid, the viewer, and prompts that try to break the page."""

import re
import threading
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser import Watched, overflow
from tests.ui import samples
from tests.ui.site import Site

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _many(site: Site) -> None:
    site.images = samples.images(150)


def refresh(page: Page) -> None:
    """Refresh without moving the focus, as the timer does."""
    page.locator("#refresh-now").evaluate("button => button.click()")
    expect(page.locator("[aria-busy]")).to_have_count(0)


def thumbnail(url: str) -> str:
    return url.replace("images/", "thumbnails/", 1)


def numbers(page: Page) -> list[int]:
    """Return the numbers of the sample images that are shown, which their addresses contain."""
    sources = page.locator(".tile img").evaluate_all("all => all.map(i => i.getAttribute('src'))")
    return [int(source.split("/")[-1].split("-")[0], 16) for source in sources]


def test_the_grid_fills_whole_rows_newest_first(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(width=1920)

    assert numbers(page) == list(range(48))
    expect(page.locator(".tile").nth(1)).to_contain_text("A fox in the snow")
    expect(page.locator(".tile").nth(1)).to_contain_text("gemini-3-pro-image")
    expect(page.locator(".tile time").nth(2)).to_have_text("3 min ago")
    reused = page.locator(".tile", has=page.get_by_text("already stored", exact=True)).all()
    assert [tile.locator("img").get_attribute("src") for tile in reused] == [
        f"{site.url}/imagen/{thumbnail(image['url'])}"
        for image in site.images[:48]
        if image["reused"]
    ]
    rows = page.locator(".grid li").evaluate_all("all => all.map(li => li.offsetTop)")
    assert rows.count(rows[-1]) == rows.count(rows[0])


def test_few_images_are_shown_without_a_button_for_more(
    site: Site, visit: Callable[..., Page]
) -> None:
    site.images = samples.images(1)
    page = visit()
    expect(page.locator(".tile")).to_have_count(1)
    expect(page.locator("#more")).to_be_hidden()

    site.images = samples.images(4)
    refresh(page)
    expect(page.locator(".tile")).to_have_count(4)
    expect(page.locator("#more")).to_be_hidden()


def test_an_image_is_shown_once_for_each_prompt_that_got_it(
    site: Site, visit: Callable[..., Page]
) -> None:
    one, other = samples.images(2)
    again = {**one, "prompt_id": "order-again", "reused": True}
    site.images = [again, one, one, other]
    page = visit()

    assert numbers(page) == [0, 0, 1]
    refresh(page)
    assert numbers(page) == [0, 0, 1]


def test_images_are_fetched_when_they_are_about_to_be_visible(
    site: Site, visit: Callable[..., Page], eventually: Callable[..., object]
) -> None:
    page = visit(width=360, height=640, alone=True)
    tiles = page.locator(".tile")
    last = tiles.count() - 1
    # Chromium loads images up to 2,500 pixels below the fold, and fewer on a fast network.
    assert tiles.nth(last - 3).evaluate("tile => tile.getBoundingClientRect().top") > 640 + 2500
    urls = [image["url"] for image in site.images]
    small = [thumbnail(url) for url in urls]
    assert site.pictures.isdisjoint(small[last - 3 :])

    # The open image is loaded, and the next one ahead of time.
    tiles.nth(last - 3).evaluate("tile => tile.click()")
    opened = set(urls[last - 3 : last - 1])
    eventually(lambda: opened <= site.pictures, within_s=30, what="an image and its neighbour")
    assert site.pictures.isdisjoint(urls[last - 1 :])
    assert site.pictures.isdisjoint(small[last - 1 :])

    page.keyboard.press("Escape")
    tiles.nth(last).scroll_into_view_if_needed()
    eventually(lambda: small[last] in site.pictures, within_s=30, what="the visible image")


def test_a_click_opens_an_image_with_all_its_details(
    site: Site, visit: Callable[..., Page]
) -> None:
    for image in site.images[4:6]:
        image["prompt"] = "line one\nline two " + "long " * 2000
    page = visit()
    page.locator(".tile").nth(4).click()

    dialog = page.locator("dialog[open]")
    expect(dialog.locator(".stage img")).to_have_js_property("naturalWidth", 64)
    assert dialog.locator(".prompt").text_content() == site.images[4]["prompt"]
    expect(dialog.locator("#viewer-title")).to_have_text("Image 5 of more than 32")
    expect(dialog.get_by_alt_text("line one")).to_be_visible()
    expect(dialog.locator(".path code")).to_have_text(site.images[4]["path"])
    expect(dialog.locator(".facts")).to_contain_text("order-4")
    expect(dialog.locator(".facts")).to_contain_text("gemini-3-pro-image")
    expect(dialog.locator(".facts")).to_contain_text("20 Nov 2026, 14:58:20 CET")
    expect(dialog.locator(".facts")).to_contain_text("8.5 s")
    expect(dialog.locator(".facts")).to_contain_text("Aspect ratio16:9")
    expect(dialog.locator(".facts")).to_contain_text("Seed0")

    # The next prompt starts at its beginning. An image that was already stored has no latency.
    dialog.locator(".prompt").evaluate("prompt => prompt.scrollTo(0, 300)")
    page.keyboard.press("ArrowRight")
    expect(dialog.locator(".facts")).to_contain_text("order-5")
    assert dialog.locator(".prompt").evaluate("prompt => prompt.scrollTop") == 0
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(dialog.locator(".facts")).to_contain_text("order-7")
    expect(dialog.locator(".facts")).to_contain_text("Latencynone, already stored")
    # A click outside closes it.
    page.mouse.click(5, 5)
    expect(page.locator("dialog")).to_be_hidden()
    expect(page.locator(".tile").nth(7)).to_be_focused()


def test_keys_open_step_and_close_and_the_focus_returns_to_the_last_image(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit()
    page.locator(".tile").nth(2).focus()
    page.keyboard.press("Enter")
    path = page.locator("dialog[open] .path code")
    expect(path).to_have_text(site.images[2]["path"])

    page.keyboard.press("ArrowRight")
    expect(path).to_have_text(site.images[3]["path"])
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Control+ArrowRight")  # the browser's own
    page.keyboard.press("ArrowRight")
    expect(path).to_have_text(site.images[4]["path"])
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()
    expect(page.locator(".tile").nth(4)).to_be_focused()

    page.keyboard.press("Enter")
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    expect(path).to_have_text(site.images[0]["path"])
    page.locator("dialog .close").click()
    expect(page.locator(".tile").first).to_be_focused()


def test_buttons_step_through_images_and_keep_the_focus_at_the_end(
    site: Site, visit: Callable[..., Page]
) -> None:
    site.images = samples.images(3)
    page = visit()
    page.locator(".tile").first.click()
    on = page.get_by_role("button", name="Older image")
    back = page.get_by_role("button", name="Newer image")
    expect(back).to_have_attribute("aria-disabled", "true")

    on.click()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.locator("#viewer-title")).to_have_text("Image 3 of 3")
    expect(on).to_have_attribute("aria-disabled", "true")
    expect(on).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#viewer-title")).to_have_text("Image 2 of 3")


def test_stepping_past_the_last_loaded_image_loads_more(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit(width=360)
    expect(page.locator(".tile")).to_have_count(12)
    page.locator(".tile").last.click()
    page.keyboard.press("ArrowRight")

    expect(page.locator("dialog .path code")).to_have_text(site.images[12]["path"])
    assert numbers(page) == list(range(24))


def test_more_is_loaded_once_however_often_it_is_requested(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit(width=360, still=True)
    site.held["more"] = threading.Event()
    page.locator(".tile").last.click()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    site.held["more"].set()

    expect(page.locator("dialog .path code")).to_have_text(site.images[12]["path"])
    assert numbers(page) == list(range(24))
    assert site.requests["images"] == 2


def test_an_image_opened_while_more_load_stays_open(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(width=360)
    site.held["more"] = threading.Event()
    page.locator(".tile").last.click()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    page.locator(".tile").first.click()
    site.held["more"].set()

    expect(page.locator(".tile")).to_have_count(24)
    expect(page.locator("dialog[open] .path code")).to_have_text(site.images[0]["path"])


def test_an_image_reopened_while_more_load_stays_open_too(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit(width=360)
    site.held["more"] = threading.Event()
    page.locator(".tile").last.click()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    page.locator(".tile").last.click()
    site.held["more"].set()

    expect(page.locator(".tile")).to_have_count(24)
    expect(page.locator("dialog[open] .path code")).to_have_text(site.images[11]["path"])


def test_more_that_arrives_after_the_grid_started_over_is_dropped(
    site: Site, visit: Callable[..., Page]
) -> None:
    site.images = samples.images(100, first=100)
    page = visit(width=360)
    site.held["more"] = threading.Event()
    page.get_by_role("button", name="Show more").click()
    site.images = samples.images(200)
    page.locator("#refresh-now").evaluate("button => button.click()")
    first = re.compile(re.escape(thumbnail(site.images[0]["url"])))
    expect(page.locator(".tile img").first).to_have_attribute("src", first)
    site.held["more"].set()

    expect(page.locator("[aria-busy]")).to_have_count(0)
    assert numbers(page) == list(range(12))


def test_show_more_loads_to_the_end_and_moves_the_focus(
    site: Site, visit: Callable[..., Page]
) -> None:
    site.images = samples.images(30)
    page = visit(width=360)
    more = page.get_by_role("button", name="Show more")
    more.click()
    expect(page.locator(".tile")).to_have_count(24)
    expect(page.locator(".tile").nth(12)).to_be_focused()
    more.click()
    expect(page.locator(".tile")).to_have_count(30)
    expect(more).to_be_hidden()
    assert numbers(page) == list(range(30))


def test_a_failed_load_of_more_says_why_and_can_be_retried(
    site: Site, visit: Callable[..., Page], watched: Watched
) -> None:
    watched.may_fail = True
    page = visit(width=360)
    site.fail("images")
    # Google's clients put the requested address into their messages.
    site.errors["images"] += " (GET https://storage.googleapis.com/" + "o" * 200 + ")"
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".more .feedback")).to_contain_text(
        "Could not load more: could not read gs://"
    )
    assert overflow(page) == []
    site.errors.clear()
    for status, why in {401: "your login has expired", 403: "you do not have access"}.items():
        site.statuses["images"] = status
        page.get_by_role("button", name="Show more").click()
        expect(page.locator(".more .feedback")).to_have_text(f"Could not load more: {why}.")
    site.statuses.clear()
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".tile")).to_have_count(24)
    expect(page.locator(".more .feedback")).to_have_text("Loaded 12 more.")


def test_new_images_are_added_in_front_and_nothing_else_moves(
    site: Site, visit: Callable[..., Page]
) -> None:
    site.images = samples.images(150, first=10)
    page = visit(width=360)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".tile")).to_have_count(24)
    tile = page.locator(".tile").nth(5)
    tile.focus()
    tile.evaluate("node => { node.sameAsBefore = true }")

    site.images = samples.images(157, first=3)
    refresh(page)

    assert numbers(page) == list(range(3, 34))
    assert page.locator(".tile").nth(12).evaluate("node => node.sameAsBefore") is True
    expect(page.locator(".tile").nth(12)).to_be_focused()
    # Older images continue after those already loaded.
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".tile")).to_have_count(43)
    assert numbers(page) == list(range(3, 46))


def test_more_new_images_than_a_page_leave_no_gap(site: Site, visit: Callable[..., Page]) -> None:
    site.images = samples.images(100, first=100)
    page = visit(width=360)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".tile")).to_have_count(24)
    page.locator(".tile").nth(20).focus()

    site.images = samples.images(200)
    refresh(page)
    assert numbers(page) == list(range(12))
    # When the focused image is gone, the focus does not jump to the top of the page.
    expect(page.locator(".tile").last).to_be_focused()
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".tile")).to_have_count(24)
    assert numbers(page) == list(range(24))


def test_a_refresh_keeps_the_open_image_when_new_ones_arrive(
    site: Site, visit: Callable[..., Page]
) -> None:
    site.images = samples.images(50, first=10)
    page = visit()
    page.locator(".tile").nth(2).click()
    path = page.locator("dialog[open] .path code")
    expect(path).to_have_text(samples.images(1, first=12)[0]["path"])

    site.images = samples.images(60)
    refresh(page)
    expect(path).to_have_text(samples.images(1, first=12)[0]["path"])
    page.keyboard.press("ArrowRight")
    expect(path).to_have_text(samples.images(1, first=13)[0]["path"])
    expect(page.locator("#viewer-title")).to_contain_text("Image 14 of")

    # If it is no longer listed, stepping continues from its position.
    site.images = samples.images(60, first=100)
    refresh(page)
    expect(path).to_have_text(samples.images(1, first=13)[0]["path"])
    page.keyboard.press("ArrowLeft")
    expect(path).to_have_text(samples.images(1, first=112)[0]["path"])


def test_the_path_can_be_copied(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    page.locator(".tile").first.click()
    page.get_by_role("button", name="Copy path").click()

    expect(page.locator(".copies .feedback")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == site.images[0]["path"]
    page.keyboard.press("ArrowRight")
    expect(page.locator(".copies .feedback")).to_be_empty()


def test_without_clipboard_access_the_path_is_selected(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit()
    # As on plain HTTP, which has no clipboard.
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.locator(".tile").first.click()
    page.get_by_role("button", name="Copy path").click()

    expect(page.locator(".copies .feedback")).to_have_text(re.compile("Copied|press Ctrl\\+C"))
    assert page.evaluate("getSelection().toString()") == site.images[0]["path"]


def test_an_image_that_is_deleted_or_not_served_says_so(
    site: Site, visit: Callable[..., Page], watched: Watched
) -> None:
    watched.may_fail = True
    site.images = samples.images(3)
    site.missing = {site.images[0]["url"].removeprefix("images/")}
    site.images[1]["url"] = None
    page = visit(alone=True)

    broken = page.locator(".frame[data-broken]")
    expect(broken).to_have_count(2)
    content = broken.first.evaluate("frame => getComputedStyle(frame, '::after').content")
    assert content == '"Not available"'
    page.locator(".tile").first.click()
    expect(page.locator("dialog .broken")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.locator("dialog .broken")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.locator("dialog .broken")).to_be_hidden()
    expect(page.locator("dialog .stage img")).to_have_js_property("naturalWidth", 64)


def test_a_prompt_with_html_or_scripts_is_shown_as_text_everywhere(
    site: Site, visit: Callable[..., Page]
) -> None:
    site.images = samples.images(len(samples.HOSTILE), prompts=samples.HOSTILE)
    for entry in site.images:
        entry["model"] = entry["source"] = entry["prompt_id"] = samples.HOSTILE[0]
    site.letters = samples.letters(samples.HOSTILE)[:5]
    for letter in site.letters:
        letter["detail"] = letter["prompt_id"] = samples.HOSTILE[2]
    site.data["done"]["runs"][0] |= {"by": samples.HOSTILE[0], "what": samples.HOSTILE[0]}
    site.data["done"]["runs"][0]["form"] = {samples.HOSTILE[0]: samples.HOSTILE[2]}
    site.data["dead-letters"]["by_reason"][3]["reason"] = samples.HOSTILE[0]
    site.data["stream"]["check"]["reasons"][0]["text"] = samples.HOSTILE[1]
    site.data["plots"]["points"][-1]["failures_per_minute"] = {samples.HOSTILE[0]: 1}
    site.data["backfills"]["runs"][0]["noted"] = [samples.HOSTILE[0]]
    site.data["actions"]["user"] = samples.HOSTILE[0]
    page = visit()

    for index, prompt in enumerate(samples.HOSTILE):
        tile = page.locator(".tile").nth(index)
        shown = tile.locator(".prompt").text_content()
        assert prompt.startswith(shown.removesuffix("…"))
        assert len(shown) <= 241
        tile.click()
        assert page.locator("dialog .prompt").text_content() == prompt
        assert page.locator("dialog .prompt *").count() == 0
        page.keyboard.press("Escape")
    page.locator(".all-of-them summary").click()
    expect(page.locator(".letters .prompt")).to_have_count(5)
    assert page.locator(".letters :is(.prompt, .detail, code) :not(small)").count() == 0
    expect(page.locator(".reasons .text").first).to_have_text(samples.HOSTILE[1])
    # Only the page's own: logo, tiles and viewer.
    assert page.locator("img").count() == 2 + len(samples.HOSTILE)
    assert page.locator("iframe, main script, svg[onload]").count() == 0
    # At the end `visit` asserts that nothing ran, was blocked, or left the server.


def test_addresses_that_lead_elsewhere_are_not_followed(
    site: Site, visit: Callable[..., Page]
) -> None:
    site.images = samples.images(5)
    for image, url in zip(
        site.images,
        [
            "https://evil.example/x.png",
            "//evil.example/x.png",
            "images/../../api/secret.png",
            "javascript:window.pwned=1",
            "data:image/png;base64,AAAA",
        ],
        strict=True,
    ):
        image["url"] = url
    site.data["stream"]["job"]["url"] = "javascript:window.pwned=2"
    site.data["stream"]["asked"]["url"] = "javascript:window.pwned=5"
    site.data["done"]["runs"][0]["url"] = "javascript:window.pwned=6"
    site.data["dead-letters"]["archive"] = "javascript:window.pwned=7"
    site.data["backfills"]["runs"][0]["url"] = "data:text/html,<script>window.pwned=3</script>"
    site.data["actions"]["dags"][0]["url"] = "javascript:window.pwned=4"
    page = visit()

    expect(page.locator(".frame[data-broken]")).to_have_count(5)
    # They are not even requested, although one is on the same server.
    expect(page.locator(".tile img[src]")).to_have_count(0)
    expect(page.locator(".job a")).to_have_count(0)
    expect(page.locator(".runs tbody tr").first.locator("a")).to_have_count(0)
    expect(page.locator("#done li").first.locator("a")).to_have_count(0)
    expect(page.locator(".waiting a")).to_have_count(0)
    expect(page.locator(".buttons button:disabled")).to_have_count(1)
    hrefs = page.locator("a[href]").evaluate_all("all => all.map(a => a.protocol)")
    assert set(hrefs) <= {"http:", "https:"}


def test_a_prompt_is_shown_in_its_scripts_direction(visit: Callable[..., Page]) -> None:
    page = visit()
    directions = page.locator(".tile .prompt").evaluate_all(
        "all => all.slice(0, 4).map(node => getComputedStyle(node).direction)"
    )

    assert directions == ["ltr", "ltr", "ltr", "rtl"]
    page.locator(".tile").nth(3).click()
    assert page.locator("dialog .prompt").evaluate("n => getComputedStyle(n).direction") == "rtl"


def test_a_long_prompt_takes_no_more_room_than_a_short_one(
    site: Site, visit: Callable[..., Page]
) -> None:
    site.images[1]["prompt"] = "👩‍🚀🪐" * 1000
    page = visit()
    heights = page.locator(".tile .prompt").evaluate_all("all => all.map(n => n.offsetHeight)")

    assert max(heights) <= 2.2 * min(heights)
    # It is not cut in the middle of a character.
    shown = page.locator(".tile .prompt").nth(1).text_content()
    assert shown == site.images[1]["prompt"][:240] + "…"
    page.locator(".tile").nth(1).click()
    assert page.locator("dialog .path code").bounding_box()["y"] < 900
