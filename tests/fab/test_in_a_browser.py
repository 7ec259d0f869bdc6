"""The page, the forms, and their links: with each role, where Airflow is served below a path."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import WATCH, Watched, chromium, watched
from tests.fab.conftest import PATH
from tests.fab.home import PASSWORD
from tests.fab.test_roles import documented

__all__ = ["watched"]
# Makes a database, and starts Airflow four times, once for all roles.
pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]

ROLES = documented()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, watched: Watched) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 1100})
    context.add_init_script(WATCH)
    context.set_default_timeout(120_000)
    watched.contexts.append(context)
    page = context.new_page()
    watched.watch(page, listen=False)
    yield page
    context.close()


def log_in(page: Page, airflow: str, role: str) -> None:
    """Log in with FAB's form, on the way to the page."""
    page.goto(f"{airflow}/")
    page.wait_for_url(re.compile(f"{PATH}/auth/login"))
    page.locator("#username").fill(role)
    page.locator("#password").fill(PASSWORD)
    page.locator("input[type=submit], button[type=submit]").first.click()
    page.wait_for_url(re.compile(r"^(?!.*/auth/)"))


@pytest.mark.parametrize("role", [role for role, may in ROLES.items() if role != "Public"])
def test_a_role_sees_what_it_may_and_no_address_leaves_airflows_path(
    page: Page, airflow: str, watched: Watched, role: str
) -> None:
    may = ROLES[role]
    log_in(page, airflow, role)

    # The menu, and the page in Airflow's frame.
    page.wait_for_load_state("networkidle")
    entry = page.locator("a[href$='/plugin/imagen']")
    expect(entry).to_have_count(1 if may["finds it in the menu"] else 0)
    if may["finds it in the menu"]:
        entry.click()
        page.wait_for_url(f"{airflow}/plugin/imagen")
        framed = page.frame_locator("iframe")
        expect(framed.locator("#actions")).to_have_attribute("data-state", "full")

    # The page by its address.
    answer = page.goto(f"{airflow}/imagen/")
    assert answer
    assert answer.status == (200 if may["opens the page"] else 403)
    if not may["opens the page"]:
        assert_within(airflow, watched)
        return
    expect(page.locator("#actions")).to_have_attribute("data-state", "full")
    expect(page.locator("#user")).to_contain_text("Logged in as ")
    links = page.locator("#actions a.button")
    expect(links).to_have_count(5 if may["triggers"] else 0)
    expect(page.locator("#actions button.button[disabled]")).to_have_count(
        0 if may["triggers"] else 5
    )
    addresses = page.eval_on_selector_all("a[href]", "all => all.map((one) => one.href)")
    assert len(addresses) > 5
    assert [each for each in addresses if not each.startswith(f"{airflow}/")] == []

    # A link to a form, and the form.
    if may["triggers"]:
        page.locator("#actions a[href*='imagen_backfill']").click()
        page.wait_for_url(f"{airflow}/dags/imagen_backfill")
        page.get_by_role("button", name="Trigger").first.click()
        expect(page.get_by_text("Prompt files").first).to_be_visible()
        expect(page.get_by_text("Maximum cost (USD)").first).to_be_visible()
    assert_within(airflow, watched)


def assert_within(airflow: str, watched: Watched) -> None:
    """Assert that all requests went to Airflow, below its path."""
    assert len(watched.requests) > 5
    assert watched.elsewhere(f"{airflow}/") == []
    assert watched.dialogs == []


def test_without_a_login_the_page_and_its_files_are_refused(airflow: str) -> None:
    import httpx

    for path in ("imagen/", "imagen/assets/page.js", "imagen/api/stream"):
        assert httpx.get(f"{airflow}/{path}", trust_env=False, timeout=120).status_code == 401
