"""Each section of the page: with data, without any yet, and when it cannot be read."""

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser import Watched, faults
from tests.ui import samples
from tests.ui.site import Site

pytestmark = pytest.mark.slow

ALL = len(samples.PANELS)


def refresh(page: Page) -> None:
    page.get_by_role("button", name="Refresh now").click()
    expect(page.locator("[aria-busy]")).to_have_count(0)


def test_the_verdict_is_a_word_and_a_symbol_on_the_page_and_in_the_title(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit()
    for status, symbol in {"HEALTHY": "✓", "DEGRADED": "▲", "DOWN": "✕"}.items():
        site.data["stream"] = samples.stream(status)
        refresh(page)
        expect(page.locator(".badge")).to_have_text(re.compile(rf"^\s*{symbol}\s+{status}\s*$"))
        expect(page).to_have_title(f"{symbol} {status} · Imagen")


def test_the_worst_reason_is_one_line_and_all_of_them_are_folded(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit()

    reasons = site.data["stream"]["check"]["reasons"]
    line = page.locator(".reason")
    expect(line).to_have_text(
        "FAILURE_RATIO 45 of the last 412 prompts failed (10.9%, the limit is 10%): UNAVAILABLE "
        "31, BLOCKED 9, INVALID_PROMPT 5. Also: SYSTEM_LAG "
    )
    section = line.locator("a").first
    assert section.evaluate("a => a.href") == f"{site.url}/imagen/runbook#failure_ratio"
    expect(page.locator(".reasons")).to_be_hidden()
    page.locator(".more-of-it summary").click()
    expect(page.locator(".reasons")).to_be_visible()
    assert page.locator(".reasons .chip").all_text_contents() == [
        reason["code"] for reason in reasons
    ]
    assert page.locator(".reasons .text").all_text_contents() == [
        reason["text"] for reason in reasons
    ]
    worth = page.locator(".reasons .chip[data-status=DEGRADED]")
    assert worth.all_text_contents() == [reason["code"] for reason in reasons]

    # A repeated reason is shown twice, also after a refresh.
    reasons += [dict(reasons[0])]
    for _ in range(2):
        refresh(page)
        assert page.locator(".reasons .text").all_text_contents() == [r["text"] for r in reasons]

    # A sentence doesn't end within what it quotes.
    error = "The job logged 1 error (5 s ago: “It was refused. Mend it.”). It may still work."
    reasons[:] = [{"code": "ERRORS", "status": "DEGRADED", "text": error}]
    refresh(page)
    expect(line).to_have_text("ERRORS " + error.removesuffix(" It may still work."))

    # What is said of a job's state was true then; the page says what is true now.
    site.data["stream"] = samples.stream("HEALTHY")
    refresh(page)
    expect(page.locator(".reason")).to_be_hidden()
    expect(page.locator(".reasons .chip")).to_have_text("RUNNING")


def test_readings_have_units_and_a_missing_one_is_not_zero(
    site: Site, visit: Callable[..., Page]
) -> None:
    del site.data["stream"]["check"]["readings"]["watermark_age"]
    page = visit()

    readings = dict(
        zip(
            page.locator(".readings dt").all_text_contents(),
            page.locator(".readings dd").all_text_contents(),
            strict=True,
        )
    )
    assert readings == {
        "System lag": "4 min 10 s over its limit",
        "Watermark age": "unknown",
        "Backlog age": "1 min 36 s",
        "Backlog (messages)": "1,843",
        "Canary": "6.4 s",
    }
    expect(page.locator(".totals")).to_contain_text("48,211 prompts, 46,902 predictions")
    expect(page.locator(".totals")).to_contain_text("92.8 GB")
    expect(page.locator("#stream .cost")).to_have_text(
        "Cost of model calls: $41.20 in the last hour, "
        "$1,204.50 and 2 calls of unknown price in the last 24 hours."
    )

    site.data["stream"]["totals"] = {"prompts": 1, "failures": 0}
    refresh(page)
    expect(page.locator(".totals")).to_have_text("In the last 24 hours: 1 prompt.")
    site.data["stream"]["totals"] = {}
    refresh(page)
    expect(page.locator(".totals")).to_be_empty()


def test_a_health_check_shows_its_age_and_whether_it_is_stale(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit()
    expect(page.locator(".checked")).to_have_text("Last health check 2 min ago.")

    site.data["stream"]["check"] |= {"stale": True, "at": samples.iso(minutes=50)}
    refresh(page)
    expect(page.locator(".checked")).to_contain_text("Stale: last health check 50 min ago")
    assert page.locator(".badge").get_attribute("data-stale") is not None


def test_the_job_has_its_state_and_a_link_or_the_page_says_there_is_none(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit()
    expect(page.locator(".job")).to_have_text(
        f"Job {samples.JOB} has been RUNNING for 16 h 51 min. Started by ada, 17 h ago."
    )
    link = page.locator(".job a").first
    expect(link).to_have_attribute("href", site.data["stream"]["job"]["url"])
    expect(link).to_have_attribute("rel", "noopener noreferrer")

    site.data["stream"] = samples.stream("DOWN")
    refresh(page)
    expect(page.locator(".job")).to_have_text(
        "No job is active, but the stream should run. "
        f"The last job, {samples.JOB}, ended as FAILED 6 min ago."
    )


def test_what_was_done_since_the_health_check_counts_more_and_ages_are_counted_here(
    site: Site, visit: Callable[..., Page]
) -> None:
    by = {"at": samples.iso(seconds=30), "by": "grace", "url": "dags/imagen_stream_drain/runs/m"}
    draining = samples.job("DRAINING", seconds=30)
    since = {"checked": False, "wanted": False, "asked": by}
    site.data["stream"] = samples.stream("HEALTHY", word="STOPPING", job=draining, **since)
    page = visit(clock=True)
    badge = page.locator(".badge")
    expect(badge).to_have_text(re.compile(r"STOPPING"))
    expect(badge).to_have_css("background-color", "rgb(238, 241, 245)")
    job = page.locator("#stream .job")
    expect(job).to_have_text(
        f"Job {samples.JOB} has been DRAINING for 30 s, stopped on purpose by grace, 30 s ago."
    )
    expect(page.locator(".reason")).to_be_hidden()
    expect(page.locator(".checked")).to_contain_text("was before that, and found it HEALTHY.")
    page.clock.run_for(10_000)
    expect(job).to_contain_text("DRAINING for 40 s")

    stopped = {"job": None, "last_job": samples.job("DRAINED", seconds=5)}
    site.data["stream"] |= {"word": "STOPPED", "waiting": {"backlog_size": 7}, **stopped}
    refresh(page)
    expect(job).to_contain_text("Stopped on purpose by grace")
    expect(job).to_contain_text("7 prompts wait for the next start. The last job, ")
    expect(page.locator(".readings dd").nth(3)).to_have_text("7")

    start = {"at": samples.iso(), "by": "ada", "url": "dags/imagen_stream_start/runs/m"}
    site.data["stream"] |= {"word": "STARTING", "start": start}
    refresh(page)
    expect(job).to_contain_text("Being started by ada")

    # A launch is answered without a state.
    launched = {"job": samples.job("UNKNOWN", seconds=14), "start": None, "wanted": True}
    site.data["stream"] |= {**launched, "asked": start, "last_job": None}
    refresh(page)
    expect(job).to_contain_text(re.compile(r" was launched \d+ s ago. Started by ada"))

    site.data["stream"] |= {"word": "RUNNING", "job": samples.job(seconds=1)}
    site.data["stream"] |= {"start": None, "asked": start, "last_job": None}
    refresh(page)
    expect(job).to_contain_text(re.compile(r"has been RUNNING for \d+ s. Started by ada"))


def test_a_health_check_with_almost_no_fields_is_shown_anyway(
    site: Site, visit: Callable[..., Page]
) -> None:
    site.data["stream"] = {"word": "SIDEWAYS", "wanted": False, "check": {"at": None}}
    site.data["backfills"] = {"runs": [{"run_id": "manual__1", "at": None, "adds_up": None}]}
    site.data["plots"]["points"] = [{"at": samples.iso(minutes=3)}, {"at": "no time"}]
    page = visit()

    expect(page.locator(".badge .word")).to_have_text("SIDEWAYS")
    expect(page.locator(".badge")).to_have_attribute("data-status", "NONE")
    expect(page.locator(".job")).to_have_text("No job is active, as intended.")
    expect(page.locator(".totals")).to_be_empty()
    expect(page.locator(".readings dd").first).to_have_text("unknown")
    site.data["stream"] |= {"word": "STOPPED", "asked": {"by": "nobody", "at": None, "url": None}}
    refresh(page)
    expect(page.locator(".job")).to_have_text("Nobody has started the stream yet.")
    expect(page.locator(".runs tbody tr")).to_have_count(1)
    expect(page.locator("#plots")).to_have_attribute("data-state", "full")


def test_a_backfill_shows_its_counts_cost_and_whether_all_is_accounted_for(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit()
    rows = page.locator(".runs tbody tr")

    assert rows.first.locator("td .value").all_text_contents() == [
        "12,500",
        "12,391",
        "845",
        "109",
        "$1,016.06",
    ]
    assert rows.first.locator("td small").all_text_contents() == [
        "15,222 new images",
        "15,120 new images",
        "estimated $1,022.92",
    ]
    # Numbers of dead letters above zero are highlighted.
    assert page.locator(".runs [data-some]").all_text_contents() == ["109"] * 3
    accounts = page.locator(".account")
    expect(accounts.nth(0)).to_have_text("✓ yes")
    expect(accounts.nth(2)).to_contain_text("✗ no")
    expect(accounts.nth(2)).to_contain_text("12,500 prompts came in and 12,460 ended")
    expect(accounts.nth(3)).to_contain_text("files have changed since")
    expect(accounts.nth(4)).to_have_text("nothing to do")
    link = rows.first.locator("th a")
    expect(link).to_have_text("2026-11-19")
    # Relative to Airflow's root, one level above the page.
    assert link.evaluate("a => a.href") == (
        f"{site.url}/dags/imagen_backfill/runs/scheduled__2026-11-19T00:00:00+00:00"
    )
    expect(rows.nth(1).locator("th a")).to_have_text("Manual run")


def test_a_backfill_that_waits_for_approval_leads_to_the_question_and_others_say_who_decided(
    site: Site, visit: Callable[..., Page]
) -> None:
    question = "dags/imagen_backfill/runs/manual__1/tasks/approve/required_actions"
    asked = {"waits": True, "decision": "asked", "by": None, "until": samples.iso(hours=-3)}
    asked |= {"max_images": 12_000, "max_cost_usd": 600.0, "url": question}
    decided = {**asked, "waits": False, "by": "ada"}
    waiting = {"adds_up": None, "counts": {}, "cost_usd": 0.0}
    shares = [
        {"engine": "batch", "images": 200, "cost_usd": 3.36},
        {"engine": "online", "images": 7, "cost_usd": None},
    ]
    site.data["backfills"] = {
        "runs": [
            samples.backfill(None, **waiting, approval=asked),
            samples.backfill(**waiting, approval=decided | {"decision": "rejected"}),
            samples.backfill(**waiting, approval=decided | {"decision": "unanswered"}),
            samples.backfill(**waiting, approval=decided | {"decision": "approved"}),
            samples.backfill(approval=decided | {"decision": "approved"}, engines=shares),
        ]
    }
    for number, run in enumerate(site.data["backfills"]["runs"]):
        run["run_id"] = f"manual__{number}"
    page = visit()
    accounts = page.locator(".account")
    link = accounts.nth(0).locator("a")
    expect(link).to_have_text("waits for approval")
    assert link.evaluate("a => a.href") == f"{site.url}/{question}"
    expect(accounts.nth(0)).to_contain_text("then it fails and nothing is paid")
    expect(accounts.nth(1)).to_have_text("rejected by ada: nothing was paid")
    expect(accounts.nth(2)).to_have_text("nobody approved it: nothing was paid")
    expect(accounts.nth(3)).to_contain_text("approved by ada: up to 12,000 images and $600.00")
    expect(accounts.nth(3)).to_contain_text("not finished yet")
    expect(accounts.nth(4)).to_contain_text("✓ yes")
    expect(accounts.nth(4)).to_contain_text("approved by ada")
    rows = page.locator(".runs tbody tr")
    expect(rows.nth(4)).to_contain_text("batch: 200 images for $3.36")
    expect(rows.nth(4)).to_contain_text("online: 7 images for an unknown cost")
    expect(rows.nth(0)).not_to_contain_text("finished")


def test_dead_letters_are_counted_most_frequent_first_and_by_whether_to_replay_them(
    site: Site, visit: Callable[..., Page]
) -> None:
    site.data["dead-letters"]["by_reason"].reverse()
    site.data["dead-letters"]["hours"] = 3.4
    page = visit()

    waiting = page.locator(".waiting")
    expect(waiting).to_contain_text("1,306 wait to be replayed or archived, counted 2 min ago.")
    expect(waiting).to_contain_text("In the last 3.4 hours: 1,306, of which 1,031 may be replayed.")
    archive = waiting.get_by_role("link", name="Archive")
    expect(archive).to_have_attribute("href", site.data["dead-letters"]["archive"])
    assert page.locator(".by-reason .chip").all_text_contents() == [
        "UNAVAILABLE",
        "BLOCKED",
        "INVALID_PROMPT",
        "MODEL_ERROR",
    ]
    first = page.locator("[data-reason=UNAVAILABLE]")
    for text in ("1,031", "79%", "1,031 may be replayed", "Copy form of a dry run"):
        expect(first).to_contain_text(text)
    assert first.locator(".chip").evaluate("a => a.href").endswith("/runbook#unavailable")
    expect(page.locator("[data-reason=BLOCKED]")).to_contain_text("not to be replayed")
    replays = page.locator(".replays li")
    expect(replays.nth(0)).to_contain_text("652 replayed, 181 archived, 0 left in place")
    expect(replays.nth(1)).to_contain_text("640 replayed, 0 archived, 5 left in place")
    expect(replays.nth(1)).to_contain_text("dry run: only counted")
    expect(replays.get_by_text("did not finish")).to_have_count(0)

    replay = {**site.data["dead-letters"]["replays"][0], "finished": False}
    site.data["dead-letters"] |= {"by_reason": [], "waiting": None, "replays": [replay]}
    refresh(page)
    expect(page.locator(".by-reason")).to_have_text("No dead letters in the last 3.4 hours.")
    expect(waiting).to_contain_text("How many wait is unknown")
    expect(replays).to_contain_text(["did not finish"])
    site.data["dead-letters"]["waiting"] = {"count": 1, "at": samples.iso()}
    site.data["dead-letters"]["replays"] = []
    refresh(page)
    expect(waiting).to_contain_text("1 waits to be")
    expect(page.locator(".replays")).to_be_hidden()


COPIED = """
window.copied = [];
navigator.clipboard.writeText = async (text) => copied.push(text);
undefined; // what a function would be called for
"""


def test_all_dead_letters_are_listed_searched_and_chosen_for_a_replay(
    site: Site, visit: Callable[..., Page]
) -> None:
    site.letters[0]["prompt"] = ""
    site.letters[4]["prompt"] = "x" * 500
    page = visit()
    assert site.requests["dead-letters/list"] == 0, "nothing is loaded that nobody looks at"
    page.evaluate(COPIED)
    copied = lambda: json.loads(page.evaluate("copied.at(-1)"))  # noqa: E731
    page.locator(".all-of-them summary").click()

    letters = page.locator(".letters li")
    expect(letters).to_have_count(5)
    expect(letters.first).to_contain_text("(empty prompt)")
    expect(letters.first).to_contain_text("429 RESOURCE_EXHAUSTED for 600 s, 14 attempts")
    expect(letters.first.locator(".meta")).to_contain_text("may be replayed")
    expect(letters.nth(4)).to_contain_text("The first 500 characters.")
    expect(page.locator(".listed")).to_contain_text("5 dead letters shown, back to ")
    page.locator(".more-letters button").click()
    expect(letters).to_have_count(10)
    letters.nth(3).get_by_role("button").click()
    expect(letters.nth(3)).to_contain_text("Copied.")
    assert copied() == {"prompt_ids": ["model_error-0"], "dry_run": False}

    expect(page.locator(".selected")).to_be_hidden()
    for index in (0, 2, 4):
        letters.nth(index).get_by_role("checkbox").check()
    letters.nth(2).get_by_role("checkbox").uncheck()
    expect(page.locator(".selected")).to_contain_text("2 prompts chosen.")
    page.locator(".selected button").click()
    expect(page.locator(".selected")).to_contain_text("Copied.")
    assert copied() == {"prompt_ids": ["unavailable-0", "unavailable-1"], "dry_run": False}

    page.get_by_label("Words of the prompt").fill("SAFETY blocked-1")
    expect(letters).to_have_count(1)
    expect(page.locator(".listed")).to_contain_text("There are no more")
    expect(page.locator(".selected")).to_be_hidden()
    page.get_by_label("Words of the prompt").fill("(.*[")
    expect(letters).to_have_count(0)
    page.get_by_label("Words of the prompt").fill("")
    page.locator("[data-reason=INVALID_PROMPT]").get_by_role("button", name="List").click()
    expect(letters).to_have_count(3)
    expect(page.locator(".letter-search select")).to_have_value("INVALID_PROMPT")

    page.locator("[data-reason=UNAVAILABLE]").get_by_role("button", name="Copy form").click()
    expect(page.locator("[data-reason=UNAVAILABLE]")).to_contain_text("Copied.")
    assert copied() == {"reasons": ["UNAVAILABLE"], "dry_run": True}
    site.fail("dead-letters/list")
    page.locator(".letter-search select").select_option("BLOCKED")
    expect(page.locator(".listed")).to_contain_text("Cannot list them: could not read gs://")


def test_many_dead_letters_scroll_in_their_list_and_leave_the_page_its_height(
    site: Site, visit: Callable[..., Page]
) -> None:
    site.letters = samples.letters() * 4
    page = visit()
    page.locator(".all-of-them summary").click()
    letters = page.locator(".letters li")
    for shown in range(5, 40, 5):
        expect(letters).to_have_count(shown)
        page.locator(".more-letters button").click()
    expect(letters).to_have_count(40)
    assert page.locator("#dead-letters").evaluate("panel => panel.offsetHeight") < 1500
    scrolled = page.get_by_role("region", name="Dead letters, newest first")
    scrolled.focus()
    page.keyboard.press("End")
    expect(letters.last).to_be_in_viewport()
    assert faults(page, runOnly=["wcag2a", "wcag2aa"]) == []


def test_what_was_done_has_who_did_it_and_the_form_to_copy(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit()
    page.evaluate(COPIED)
    runs = page.locator("#done li")
    expect(runs).to_have_count(5)
    expect(runs.nth(0)).to_contain_text("Replay of dead letters")
    expect(runs.nth(0)).to_contain_text("by grace")
    expect(runs.nth(0).locator("summary")).to_have_text(
        'dry_run = false, reasons = ["UNAVAILABLE"]'
    )
    expect(runs.nth(1)).to_contain_text("scheduled")
    expect(runs.nth(1).locator(".no")).to_have_text("failed")
    assert runs.nth(2).locator("a").evaluate("a => a.href") == (
        f"{site.url}/dags/imagen_start/runs/manual__17"
    )
    expect(runs.nth(2).locator("summary")).to_contain_text('request_tier = "flex", …')
    runs.nth(2).locator("summary").click()
    runs.nth(2).get_by_role("button").click()
    expect(runs.nth(2)).to_contain_text("Copied.")
    assert json.loads(page.evaluate("copied[0]")) == site.data["done"]["runs"][2]["form"]

    page.locator(".more-of-it summary").click()
    page.get_by_role("button", name="Copy the running form as JSON").click()
    expect(page.locator(".form")).to_contain_text("Copied.")
    assert json.loads(page.evaluate("copied[1]")) == site.data["stream"]["form"]
    # Where the browser gives nobody its clipboard, the text is shown.
    page.evaluate(
        "navigator.clipboard.writeText = () => Promise.reject(); document.execCommand = () => false"
    )
    page.get_by_role("button", name="Copy the running form as JSON").click()
    expect(page.locator(".form")).to_contain_text('Could not copy. Here it is: {   "model"')


def test_a_dag_the_user_may_not_trigger_is_greyed_out_with_the_reason(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit()
    buttons = page.locator(".buttons a.button")
    expect(buttons).to_have_count(5)
    assert buttons.first.evaluate("a => a.href") == f"{site.url}/dags/imagen_stream_health"
    assert {link.get_attribute("target") for link in buttons.all()} == {"_top"}

    first = page.locator(".buttons li").first
    described = first.locator("a").get_attribute("aria-describedby")
    expect(page.locator(f"#{described}")).to_have_text(
        site.data["actions"]["dags"][0]["description"]
    )
    expect(page.locator("#user")).to_have_text("Logged in as ops@example.com.")

    site.data["actions"]["dags"][2]["allowed"] = False
    refresh(page)
    expect(page.locator(".buttons a")).to_have_count(4)
    expect(page.locator(".buttons button:disabled")).to_have_text("Drain the stream")
    expect(page.locator("#user")).to_contain_text(
        "You may not trigger the DAGs that are greyed out"
    )

    site.data["actions"] = samples.actions(allowed=False, user="visitor")
    refresh(page)
    expect(page.locator(".buttons a")).to_have_count(0)
    expect(page.locator(".buttons button:disabled")).to_have_count(5)
    expect(page.locator("#user")).to_contain_text("Logged in as visitor. You may not trigger")


def test_each_empty_section_says_what_to_do(site: Site, visit: Callable[..., Page]) -> None:
    site.empty()
    page = visit()

    for panel, dag in {
        "stream": "imagen_stream_start",
        "plots": "imagen_stream_health",
        "images": "imagen_backfill",
        "backfills": "imagen_backfill",
        "dead-letters": "imagen_dead_letters_replay",
        "done": "imagen_stream_start",
    }.items():
        expect(page.locator(f"#{panel}")).to_have_attribute("data-state", "empty")
        empty = page.locator(f"#{panel} > .empty")
        link = empty.get_by_role("link", name=dag, exact=True).last
        expect(link).to_have_attribute("href", f"{site.url}/dags/{dag}")
        expect(link).to_have_attribute("target", "_top")
        expect(page.locator(f"#{panel} .body")).to_be_hidden()
        expect(page.locator(f"#{panel} .trouble")).to_be_empty()

    # When it cannot be read, it may no longer be empty.
    site.fail("stream")
    refresh(page)
    expect(page.locator("#stream .trouble")).to_contain_text("503 Service Unavailable")
    expect(page.locator("#stream > .empty")).to_be_hidden()


@pytest.mark.parametrize("failing", [samples.PANELS[:1], samples.PANELS[1::2]], ids=",".join)
def test_a_section_that_cannot_be_read_says_so_and_the_others_are_shown(
    site: Site, visit: Callable[..., Page], failing: tuple[str, ...]
) -> None:
    site.fail(*failing)
    page = visit()

    for panel in samples.PANELS:
        trouble = page.locator(f"#{panel} .trouble")
        if panel in failing:
            expect(trouble).to_contain_text("503 Service Unavailable. Check the bucket")
            expect(page.locator(f"#{panel} .body")).to_be_hidden()
            expect(page.locator(f"#{panel} > .empty")).to_be_hidden()
        else:
            expect(trouble).to_be_empty()
            expect(page.locator(f"#{panel} .body")).to_be_visible()
    expect(page.locator("#refreshed")).to_contain_text(
        f"{len(failing)} of {ALL} sections could not be loaded"
    )
    expect(page.locator("#refreshed[data-trouble]")).to_have_count(1)


def test_a_common_cause_is_told_once_with_what_to_do(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit()
    down = [panel for panel in samples.PANELS if panel not in ("actions", "done")]
    site.fail(*down)
    site.causes = dict.fromkeys(down, "storage")
    refresh(page)

    banner = page.locator("#banner")
    expect(banner).to_contain_text(
        f"Cloud Storage cannot be read, so {len(down)} of {ALL} sections show"
    )
    expect(banner).to_contain_text("503 Service Unavailable. Check the bucket")
    what = banner.get_by_role("link", name="What to do")
    assert what.evaluate("a => a.href").endswith("/imagen/runbook#the-page-is-full-of-errors")
    for panel in down:
        expect(page.locator(f"#{panel} .trouble")).to_have_text(
            "Not loaded: see the top of the page. The data below is from 15:05."
        )
    # A cause that only one section has is told there.
    site.errors = {"plots": site.errors["plots"]}
    refresh(page)
    expect(banner).to_be_empty()
    expect(page.locator("#plots .trouble")).to_contain_text("503 Service Unavailable")
    site.fail(*down)
    site.causes = dict.fromkeys(down, "settings")
    refresh(page)
    expect(banner).to_contain_text("A setting of the deployment is wrong")


def test_when_nothing_can_be_read_every_section_says_so(
    site: Site, visit: Callable[..., Page]
) -> None:
    site.fail(*samples.PANELS)
    page = visit()

    for panel in samples.PANELS:
        expect(page.locator(f"#{panel} .trouble")).to_contain_text(f"records for {panel}: 503")
    expect(page.locator("#refreshed")).to_have_text(
        f"{ALL} of {ALL} sections could not be loaded. Nothing loaded yet"
    )


def test_invalid_answers_are_explained_in_words(
    site: Site, visit: Callable[..., Page], watched: Watched
) -> None:
    watched.may_fail = True
    site.statuses["stream"] = 500
    site.raw["plots"] = "<html>a proxy's page</html>"
    site.raw["images"] = "null"
    page = visit()

    expect(page.locator("#stream .trouble")).to_have_text(
        "Cannot load this section: the server answered with HTTP status 500."
    )
    for panel in ("plots", "images"):
        expect(page.locator(f"#{panel} .trouble")).to_have_text(
            "Cannot load this section: the server's answer is not JSON."
        )
    expect(page.locator("#backfills .body")).to_be_visible()
