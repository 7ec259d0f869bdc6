"""Inside Airflow's iframe, which blocks links and tabs: the page follows links outside of it."""

from collections.abc import Callable
from urllib.parse import quote

import pytest
from playwright.sync_api import FrameLocator, Page, expect

from tests.browser import Watched
from tests.ui import samples
from tests.ui.site import Site

pytestmark = pytest.mark.slow


@pytest.fixture
def framed(visit: Callable[..., Page]) -> Callable[..., tuple[Page, FrameLocator]]:
    def open_framed(**options: object) -> tuple[Page, FrameLocator]:
        page = visit(path="/", wait=False, **options)
        frame = page.frame_locator("iframe")
        expect(frame.locator("#stream")).to_have_attribute("data-state", "full")
        expect(frame.locator("[aria-busy]")).to_have_count(0)
        return page, frame

    return open_framed


def test_a_button_takes_the_whole_window_to_the_dags_page(
    site: Site, framed: Callable[..., tuple[Page, FrameLocator]]
) -> None:
    page, frame = framed()
    frame.get_by_role("link", name="Drain the stream").click()

    page.wait_for_url(f"{site.url}/dags/imagen_stream_drain")
    expect(page).to_have_title("elsewhere")


def test_the_enter_key_follows_a_link_too(
    site: Site, framed: Callable[..., tuple[Page, FrameLocator]]
) -> None:
    page, frame = framed()
    frame.locator(".runs tbody a").first.focus()
    page.keyboard.press("Enter")

    page.wait_for_url(f"{site.url}/dags/imagen_backfill/runs/*")


@pytest.mark.parametrize(
    "how", [{"modifiers": ["ControlOrMeta"]}, {"modifiers": ["Shift"]}, {"button": "middle"}]
)
def test_a_button_can_be_opened_in_a_new_tab(
    site: Site, framed: Callable[..., tuple[Page, FrameLocator]], how: dict[str, object]
) -> None:
    page, frame = framed()
    with page.context.expect_page() as opened:
        frame.get_by_role("link", name="Drain the stream").click(**how)

    opened.value.wait_for_url(f"{site.url}/dags/imagen_stream_drain")
    assert page.url == f"{site.url}/"


def test_a_right_click_follows_no_link(
    site: Site, framed: Callable[..., tuple[Page, FrameLocator]]
) -> None:
    page, frame = framed()
    frame.get_by_role("link", name="Drain the stream").click(button="right")
    frame.get_by_role("link", name="Dead letters", exact=True).click()

    expect(frame.locator("#dead-letters")).to_be_in_viewport()
    assert [tab.url for tab in page.context.pages] == [f"{site.url}/"]


def test_the_job_opens_in_a_tab_without_access_to_the_page(
    site: Site, framed: Callable[..., tuple[Page, FrameLocator]]
) -> None:
    site.data["stream"]["job"]["url"] = f"{site.url}/dags/console"
    page, frame = framed()
    with page.context.expect_page() as opened:
        frame.locator(".job a").first.click()

    opened.value.wait_for_url(f"{site.url}/dags/console")
    assert opened.value.evaluate("[window.opener, document.referrer]") == [None, ""]


def test_a_new_login_returns_to_airflows_page(
    site: Site, framed: Callable[..., tuple[Page, FrameLocator]], watched: Watched
) -> None:
    watched.may_fail = True
    page, frame = framed()
    site.statuses = dict.fromkeys(samples.PANELS, 401)
    frame.get_by_role("button", name="Refresh now").click()
    frame.get_by_role("link", name="Log in again").click()

    page.wait_for_url(lambda url: url.startswith(f"{site.url}/api/v2/auth/login?next="))
    assert page.url == f"{site.url}/api/v2/auth/login?next={quote(f'{site.url}/', '')}"


def test_jumping_to_a_section_stays_in_the_iframe(
    framed: Callable[..., tuple[Page, FrameLocator]],
) -> None:
    page, frame = framed(height=500)
    frame.get_by_role("link", name="Dead letters", exact=True).click()

    expect(frame.locator("#dead-letters")).to_be_in_viewport()
    assert page.url.endswith("/")


def test_it_uses_airflows_theme_whatever_the_system_says(
    framed: Callable[..., tuple[Page, FrameLocator]],
) -> None:
    page, frame = framed(dark=True)

    def ground() -> str:
        return str(frame.locator("body").evaluate("body => getComputedStyle(body).backgroundColor"))

    assert ground() == "rgb(244, 246, 248)"
    page.evaluate("document.documentElement.className = 'dark'")
    expect(frame.locator("html")).to_have_attribute("data-theme", "dark")
    assert ground() == "rgb(14, 19, 26)"
    page.emulate_media(color_scheme="light")
    assert ground() == "rgb(14, 19, 26)"
    page.evaluate("document.documentElement.className = ''")
    expect(frame.locator("html:not([data-theme])")).to_have_count(1)
    assert ground() == "rgb(244, 246, 248)"
