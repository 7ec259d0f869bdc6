// The page: its panels, and when they refresh. No panel waits for another.

import { actionsPanel } from "./actions.js";
import { backfillsPanel } from "./backfills.js";
import { deadLettersPanel } from "./dead-letters.js";
import { el, setText } from "./dom.js";
import { donePanel } from "./done.js";
import { clockWithSeconds } from "./formatting.js";
import { followLinks, followTheme, returnAddress } from "./frame.js";
import { Gallery } from "./images.js";
import { moneyPanel } from "./money.js";
import { plotsPanel } from "./plots.js";
import { keepRelativeTimesUpdated, updateRelativeTimes } from "./relative-time.js";
import { runbookLink } from "./runbook.js";
import { AccessDenied, airflowUrl, LoginExpired, serverNow } from "./server.js";
import { streamPanel } from "./stream.js";
import { Viewer } from "./viewer.js";

const EVERY_MS = 30_000;

followTheme();
followLinks();

const viewer = new Viewer();
const gallery = new Gallery((image) => viewer.open(image));
viewer.gallery = gallery;
const panels = [
  streamPanel(),
  actionsPanel(),
  plotsPanel(),
  gallery.panel,
  moneyPanel(),
  backfillsPanel(),
  deadLettersPanel(),
  donePanel(),
];

const banner = document.getElementById("banner");
const refreshed = document.getElementById("refreshed");
const refreshNow = document.getElementById("refresh-now");
const refreshSwitch = document.getElementById("refresh-switch");
const state = { startedAt: 0, paused: false, timer: 0, lastSuccess: null };

async function refresh() {
  clearTimeout(state.timer);
  state.startedAt = Date.now();
  refreshNow.setAttribute("aria-busy", "true");
  const outcomes = await Promise.all(panels.map((panel) => panel.refresh()));
  refreshNow.removeAttribute("aria-busy");
  const good = outcomes.filter((outcome) => outcome === "good").length;
  if (good) state.lastSuccess = new Date(serverNow());
  showCommonProblem(outcomes);
  const busy = outcomes.filter((outcome) => outcome === "busy").length;
  showRefreshed(panels.length - good - busy);
  updateRelativeTimes();
  schedule();
}

function schedule() {
  clearTimeout(state.timer);
  if (state.paused || document.hidden) return;
  state.timer = setTimeout(refresh, Math.max(0, state.startedAt + EVERY_MS - Date.now()));
}

function showRefreshed(failed) {
  const trouble = failed ? `${failed} of ${panels.length} sections could not be loaded. ` : "";
  const time = state.lastSuccess ? `Refreshed ${clockWithSeconds(state.lastSuccess)}` : "Nothing loaded yet";
  setText(refreshed, `${trouble}${time}${state.paused ? ", paused" : ""}`);
  refreshed.toggleAttribute("data-trouble", failed > 0);
}

/**
 * Show or clear the banner about what concerns the whole page: the login, a missing permission, or
 * one cause that several sections lack something for. They then leave its explanation to the banner.
 */
function showCommonProblem(outcomes) {
  const is = (type) => outcomes.some((outcome) => outcome instanceof type);
  if (is(LoginExpired)) return showBanner("login-expired", loginExpired);
  if (is(AccessDenied)) return showBanner("access-denied", accessDenied);
  for (const cause of ["settings", "storage"]) {
    const without = panels.filter((panel) => panel.cause === cause);
    if (without.length < 2) continue;
    for (const panel of without) panel.tellAbove();
    return showBanner(`${cause} ${without[0].error}`, () => commonCause(cause, without));
  }
  return showBanner("", () => []);
}

function showBanner(kind, content) {
  if ((banner.dataset.kind ?? "") === kind) return; // no second announcement by a screen reader
  banner.dataset.kind = kind;
  banner.className = kind ? "banner" : "";
  banner.replaceChildren(...content());
}

function loginExpired() {
  const login = airflowUrl("api/v2/auth/login");
  login.searchParams.set("next", returnAddress());
  const link = el("a", { href: login.href, target: "_top" }, "Log in again");
  return ["Your login has expired, and the data below is no longer updated. ", link];
}

function accessDenied() {
  const dag = el("code", null, "imagen_stream_health");
  return ["You do not have access to this page. Ask for permission to read the DAG ", dag, "."];
}

function commonCause(cause, without) {
  const what = cause === "settings" ? "A setting of the deployment is wrong" : "Cloud Storage cannot be read";
  return [
    el("strong", null, `${what}, so ${without.length} of ${panels.length} sections show nothing new.`),
    ` ${without[0].error} This concerns the page, and perhaps not the stream. `,
    runbookLink("the-page-is-full-of-errors", null, "What to do"),
  ];
}

refreshNow.addEventListener("click", refresh);
refreshSwitch.addEventListener("click", () => {
  state.paused = !state.paused;
  refreshSwitch.setAttribute("aria-checked", String(!state.paused));
  if (state.paused) {
    clearTimeout(state.timer);
    setText(refreshed, `${refreshed.textContent}, paused`);
  } else {
    refresh();
  }
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(state.timer);
  else if (!state.paused) refresh();
});

keepRelativeTimesUpdated();
refresh();
