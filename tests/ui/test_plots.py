"""The plots: what is drawn, what is not, and how to read values."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser import resize
from tests.conftest import eventually
from tests.ui import samples
from tests.ui.site import Site

pytestmark = pytest.mark.slow

PLOTS = ("status", "backlog-age", "backlog-size", "lags", "throughput", "failures", "quota")


def plot(page: Page, name: str) -> Locator:
    return page.locator(f"[data-plot={name}]")


def refresh(page: Page) -> None:
    """Refresh without moving the focus, as the timer does."""
    page.locator("#refresh-now").evaluate("button => button.click()")
    expect(page.locator("[aria-busy]")).to_have_count(0)


def check(minutes: float, **fields: Any) -> dict[str, Any]:
    quiet = {"prompts_per_minute": 10, "failures_per_minute": {}, "backlog_age": 5}
    return {"at": samples.iso(minutes=minutes), "status": "HEALTHY", **quiet, **fields}


def test_every_plot_has_a_title_and_a_summary_in_words(visit: Callable[..., Page]) -> None:
    page = visit()

    for name in PLOTS:
        drawing = page.locator(f"[data-plot={name}] svg[role=img]")
        title, desc = drawing.get_attribute("aria-labelledby").split()
        assert page.locator(f"#{title}").text_content()
        summary = page.locator(f"#{desc}").text_content()
        assert summary.startswith("From 19 Nov, 15:05 to 15:05.")
    storm = page.locator("#plot-backlog-age-desc").text_content()
    assert re.search(r"highest 30 min 31 s at 14:13, last 6 min 48 s\.", storm)
    assert re.search(
        r"\d+ HEALTHY, \d+ DEGRADED, \d+ DOWN", page.locator("#plot-status-desc").text_content()
    )


def test_times_are_in_the_readers_time_zone(visit: Callable[..., Page]) -> None:
    ticks = plot(visit(), "status").locator(".tick text").all_text_contents()

    # 14:05 in UTC is 15:05 in Berlin.
    assert ticks[-1] in ("14:00", "15:00")
    assert all(re.fullmatch(r"\d\d:00", tick) for tick in ticks)


def test_without_health_checks_the_line_is_broken_and_the_gap_is_shown(
    site: Site, visit: Callable[..., Page]
) -> None:
    site.data["plots"]["points"] = [
        *(check(minutes, quota_refusals_per_minute=1) for minutes in range(400, 300, -5)),
        *(
            check(
                minutes,
                backlog_age=None if minutes == 100 else 5,
                quota_refusals_per_minute=1,
            )
            for minutes in range(200, 0, -5)
        ),
    ]
    page = visit()

    # Broken by the pause, and by a health check without the value.
    assert plot(page, "backlog-age").locator(".line").count() == 3
    assert plot(page, "throughput").locator(".line.tone-a").count() == 2
    # Before the first health check, and during the pause.
    assert plot(page, "backlog-age").locator(".gap").count() == 2
    expect(page.locator(".legend-of-gaps")).to_be_visible()
    # A rate covers the time since the previous health check, but not a gap.
    bars = plot(page, "quota").locator(".bar")
    widths = bars.evaluate_all("all => all.map(bar => bar.width.baseVal.value)")
    assert len(widths) == 60
    assert max(widths) < 3
    # A verdict does not extend into a gap.
    assert plot(page, "status").locator(".state").count() == 2

    # Earlier health checks are left out, and the order of the points does not matter.
    site.data["plots"] = {"hours": 1, "points": [check(minutes) for minutes in range(0, 120, 5)]}
    refresh(page)
    assert plot(page, "backlog-age").locator(".line").count() == 1
    assert plot(page, "backlog-age").locator(".gap").count() == 0
    assert plot(page, "status").locator(".state").count() == 1
    expect(page.locator(".legend-of-gaps")).to_be_hidden()
    slider = plot(page, "backlog-age").locator(".time-slider")
    expect(slider).to_have_attribute("aria-valuemax", "12")
    expect(slider).to_have_attribute("aria-valuetext", "15:05: 5 s")

    # If all are earlier, there is nothing to plot.
    site.data["plots"] = {"hours": 1, "points": [check(70)]}
    refresh(page)
    expect(page.locator("#plots > .empty")).to_be_visible()
    expect(page.locator(".shown-at")).to_be_hidden()


def test_a_single_health_check_is_drawn_as_a_dot(site: Site, visit: Callable[..., Page]) -> None:
    site.data["plots"]["points"] = [check(10)]
    page = visit()

    assert plot(page, "backlog-age").locator(".dot").count() == 1
    assert plot(page, "backlog-age").locator(".line").count() == 0


def test_failures_are_stacked_by_reason_and_zero_is_not_a_gap(
    site: Site, visit: Callable[..., Page]
) -> None:
    failures = {"UNAVAILABLE": 6, "SOMETHING_NEW": 2, "BLOCKED": 2}
    site.data["plots"]["points"] = [check(15), check(10, failures_per_minute=failures), check(5)]
    page = visit()

    bars = plot(page, "failures").locator(".bar")
    boxes = sorted(
        bars.evaluate_all("all => all.map(b => [b.y.baseVal.value, b.height.baseVal.value])"),
        reverse=True,
    )
    assert len(boxes) == 3
    for (_, _), (y, height), (above, _) in zip(boxes, boxes, boxes[1:], strict=False):
        assert above < y
        assert height > 0
    # A reason keeps its colour whichever others are shown, and the axis has room for the sum.
    assert bars.evaluate_all("all => all.map(bar => bar.classList[1])") == [
        "reason-0",
        "reason-1",
        "reason-other",
    ]
    base = plot(page, "failures").locator(".base")
    assert min(y for y, _ in boxes) > 0
    assert boxes[0][0] + boxes[0][1] == base.evaluate("line => line.y1.baseVal.value")
    heights = sorted(height for _, height in boxes)
    assert heights[2] == pytest.approx(3 * heights[0], rel=0.05)
    top = min(y for y, _ in boxes)
    assert sum(heights) == pytest.approx(boxes[0][0] + boxes[0][1] - top, abs=0.5)
    # The latest health check knows that there were none.
    assert plot(page, "failures").locator(".legend li").all_text_contents() == [
        "UNAVAILABLE 0",
        "BLOCKED 0",
        "SOMETHING_NEW 0",
    ]


def test_the_verdicts_differ_in_height_as_well_as_in_colour(
    site: Site, visit: Callable[..., Page]
) -> None:
    site.data["plots"]["points"] = [
        check(60 - 5 * index, status=status)
        for index, status in enumerate(["HEALTHY", "HEALTHY", "DEGRADED", "DOWN", "HEALTHY"])
    ]
    page = visit()

    drawn = (
        plot(page, "status")
        .locator(".state")
        .evaluate_all("all => all.map(s => [s.classList[1], s.height.baseVal.value])")
    )
    assert [status for status, _ in drawn] == ["HEALTHY", "DEGRADED", "DOWN", "HEALTHY"]
    heights = dict(drawn)
    assert heights["HEALTHY"] < heights["DEGRADED"] < heights["DOWN"]


def test_pointing_at_one_plot_shows_the_values_of_all_at_that_time(
    visit: Callable[..., Page],
) -> None:
    page = visit()
    expect(page.locator(".shown-at")).to_have_text("Values of the latest health check, 15:03")
    latest = plot(page, "backlog-age").locator(".legend b").text_content()

    area = plot(page, "lags").locator(".time-slider")
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + box["height"] / 2)
    expect(page.locator(".shown-at")).to_have_text(re.compile(r"^Values at 0[3-6]:\d\d$"))
    assert plot(page, "backlog-age").locator(".legend b").text_content() != latest
    assert page.locator(".cursor[visibility=visible]").count() == len(PLOTS)

    page.mouse.move(2, 2)
    expect(page.locator(".shown-at")).to_have_text("Values of the latest health check, 15:03")
    assert page.locator(".cursor[visibility=visible]").count() == 0

    # The cursor is at the health check under the pointer.
    mark = plot(page, "lags").locator(".cursor line")
    for part in (0.2, 0.7):
        page.mouse.move(box["x"] + part * box["width"], box["y"] + box["height"] / 2)
        there = pytest.approx(box["x"] + part * box["width"], abs=3)
        eventually(lambda: mark.bounding_box()["x"] == there, what="the cursor")  # noqa: B023


def test_a_tap_selects_a_time_until_the_next_tap_elsewhere(visit: Callable[..., Page]) -> None:
    page = visit(has_touch=True)
    for name in ("lags", "throughput"):
        plot(page, name).locator(".time-slider").tap()
        expect(page.locator(".shown-at")).to_have_text(re.compile(r"^Values at 0[1-6]:\d\d$"))
    page.locator("#images-title").tap()
    expect(page.locator(".shown-at")).to_have_text("Values of the latest health check, 15:03")


def test_keys_move_the_selected_time_and_a_refresh_keeps_it(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit()
    slider = plot(page, "throughput").locator(".time-slider")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("PageUp")
    expect(page.locator(".shown-at")).to_have_text("Values at 13:58")
    expect(slider).to_have_attribute(
        "aria-valuetext", re.compile(r"^13:58: prompts \d+, images \d+$")
    )
    now = int(slider.get_attribute("aria-valuenow"))
    assert now == int(slider.get_attribute("aria-valuemax")) - 13

    # One health check later every index has moved by one, but the selected time has not.
    site.later(minutes=5)
    site.data["plots"]["points"] = [
        *site.data["plots"]["points"][1:],
        check(-3),
    ]
    refresh(page)
    expect(plot(page, "throughput").locator(".time-slider")).to_have_attribute(
        "aria-valuenow", str(now - 1)
    )
    expect(page.locator(".shown-at")).to_have_text("Values at 13:58")
    expect(slider).to_be_focused()

    # A pointer that passes by moves the selection, and the focused plot keeps it.
    plot(page, "throughput").locator(".time-slider").hover()
    expect(page.locator(".shown-at")).to_have_text(re.compile(r"^Values at 0[1-6]:\d\d$"))
    page.mouse.move(2, 2)
    expect(page.locator(".shown-at")).to_have_text(re.compile(r"^Values at 0[1-6]:\d\d$"))

    page.keyboard.press("Home")
    expect(slider).to_have_attribute("aria-valuenow", "0")
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuenow", "0")
    page.keyboard.press("Escape")
    expect(page.locator(".shown-at")).to_have_text("Values of the latest health check, 15:08")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".shown-at")).to_have_text("Values at 15:03")
    slider.evaluate("node => node.blur()")
    expect(page.locator(".shown-at")).to_have_text("Values of the latest health check, 15:08")


def test_the_plots_are_also_a_table_with_one_row_per_hour(
    site: Site, visit: Callable[..., Page]
) -> None:
    site.data["plots"]["points"] = [
        check(70, backlog_age=65, prompts_per_minute=10, status="DOWN"),
        check(65.5, backlog_age=600, prompts_per_minute=30),
        check(5, backlog_age=1, failures_per_minute={"BLOCKED": 1.5, "NO_IMAGE": 1}),
    ]
    page = visit()
    page.locator(".by-hour summary").click()

    rows = page.locator(".by-hour tbody tr")
    expect(rows).to_have_count(2)
    newest, oldest = (row.locator("th, td").all_text_contents() for row in rows.all())
    assert newest == ["15:00", "HEALTHY", "1 s", "–", "–", "–", "10", "–", "2.5", "–"]
    assert oldest[:3] == ["13:00", "DOWN", "10 min"]
    assert oldest[6] == "20"

    site.data["plots"]["points"].append(check(3, backlog_age=2))
    refresh(page)
    expect(rows.first.locator("td").nth(1)).to_have_text("2 s")


def test_plots_follow_the_width_of_the_window(visit: Callable[..., Page]) -> None:
    page = visit(width=1280)
    wide = plot(page, "status").locator("svg").bounding_box()["width"]
    resize(page, 700)

    drawing = plot(page, "status").locator("svg")
    expect(drawing).not_to_have_attribute("width", str(int(wide)))
    assert drawing.bounding_box()["width"] < 700


def test_a_time_is_chosen_by_button_by_dragging_or_filled_in(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit()
    expect(page.get_by_role("button", name="24 h")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="6 h").click()
    summary = page.locator("#plot-backlog-age-desc")
    expect(summary).to_have_text(re.compile(r"^From 09:05 to 15:05\."))
    expect(page.get_by_role("button", name="24 h")).to_have_attribute("aria-pressed", "false")
    # One axis for all.
    for name in PLOTS:
        expect(page.locator(f"#plot-{name}-desc")).to_have_text(re.compile("^From 09:05"))

    area = plot(page, "lags").locator(".time-slider")
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.5 * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], y, steps=3)
    expect(plot(page, "lags").locator(".zoomed")).to_have_attribute("visibility", "visible")
    page.mouse.up()
    expect(summary).to_have_text(re.compile(r"^From 1[12]:\d\d to 12:\d\d\."))
    expect(page.locator(".ranges [aria-pressed=true]")).to_have_count(0)
    start, end = page.locator(".own-range input").all()
    assert re.fullmatch(r"2026-11-20T1[12]:\d\d", start.input_value())

    loads = site.requests["plots"]
    start.fill("2026-11-20T14:00")
    end.fill("2026-11-20T13:00")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator(".range-trouble")).to_have_text("This time ends before it begins.")
    end.fill("")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator(".range-trouble")).to_have_text("Fill in both times.")
    assert site.requests["plots"] == loads
    end.fill("2026-11-20T15:00")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(summary).to_have_text(re.compile(r"^From 14:00 to 15:00\."))
    expect(page.locator(".range-trouble")).to_be_empty()
    # A time without health checks is said to be, and there is a way back.
    start.fill("2020-01-01T00:00")
    end.fill("2020-01-02T00:00")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#plots > .empty")).to_contain_text("Nothing to plot in this time.")
    page.get_by_role("button", name="1 h").click()
    expect(summary).to_have_text(re.compile(r"^From 14:05 to 15:05\."))


def test_limits_are_lines_and_what_was_done_is_marked_and_listed(
    site: Site, visit: Callable[..., Page]
) -> None:
    site.data["plots"] |= {
        "each": 5,
        "limits": {"backlog_age": 600, "system_lag": 100_000},
        "marks": [
            {"what": "drain", "at": samples.iso(hours=3), "by": "ada", "url": "dags/d/runs/r"},
            {"what": "deployment", "at": samples.iso(hours=2), "by": None, "image": "imagen:1f"},
            {"what": "start", "at": "no time"},
        ],
    }
    page = visit()
    assert plot(page, "backlog-age").locator(".limit text").text_content() == "limit 10 min"
    assert plot(page, "lags").locator(".limit").count() == 0, "too far away to leave room"
    expect(page.locator("#plot-lags-desc")).to_contain_text("limit 1 d 3 h")
    for name in PLOTS:
        assert plot(page, name).locator("line.mark").count() == 2
    marks = page.locator("#plots .marks li")
    assert marks.all_text_contents() == ["Drain by ada, 12:05", "Deployment, 13:05"]
    expect(marks.nth(1)).to_have_attribute("title", "imagen:1f")
    assert marks.first.locator("a").evaluate("a => a.href") == f"{site.url}/dags/d/runs/r"
    expect(page.locator(".each")).to_contain_text("Each point is of 5 health checks")


@pytest.mark.parametrize(
    ("minutes", "earlier", "shown"),
    [(50, False, "1 h"), (70, False, "6 h"), (400, False, "24 h"), (50, True, "24 h")],
)
def test_a_young_deployment_fills_its_plots_until_the_reader_chooses_a_time(
    site: Site, visit: Callable[..., Page], minutes: float, earlier: bool, shown: str
) -> None:
    site.data["plots"] |= {"points": [check(minutes), check(2)], "earlier": earlier}
    page = visit()
    pressed = page.locator(".ranges [aria-pressed=true]")
    summary = page.locator("#plot-status-desc")
    expect(pressed).to_have_text(shown)
    begin = {"1 h": "From 14:05", "6 h": "From 09:05", "24 h": "From 19 Nov, 15:05"}
    expect(summary).to_have_text(re.compile(f"^{begin[shown]} to 15:05"))

    page.locator(".ranges").get_by_role("button", name="24 h").click()
    refresh(page)
    expect(pressed).to_have_text("24 h")
    expect(summary).to_have_text(re.compile("^From 19 Nov, 15:05 to 15:05"))
