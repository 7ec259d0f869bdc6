// The page: its panels, and when they refresh. No panel waits for another.

import { actionsPanel } from "./actions.js";
import { backfillsPanel } from "./backfills.js";
import { deadLettersPanel } from "./dead-letters.js";
import { el, setText } from "./dom.js";
import { clockWithSeconds } from "./formatting.js";
import { followLinks, followTheme, returnAddress } from "./frame.js";
import { Gallery } from "./images.js";
import { moneyPanel } from "./money.js";
import { plotsPanel } from "./plots.js";
import { keepRelativeTimesUpdated, updateRelativeTimes } from "./relative-time.js";
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
  showAccessProblem(outcomes);
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

/** Show or clear the banner about the login or a missing permission, which concern the whole page. */
function showAccessProblem(outcomes) {
  const problem = [LoginExpired, AccessDenied].find((type) =>
    outcomes.some((outcome) => outcome instanceof type),
  );
  const names = new Map([[LoginExpired, "login-expired"], [AccessDenied, "access-denied"]]);
  const name = names.get(problem) ?? "";
  if ((banner.dataset.kind ?? "") === name) return; // no second announcement by a screen reader
  banner.dataset.kind = name;
  banner.className = name ? "banner" : "";
  if (problem === LoginExpired) {
    const login = airflowUrl("api/v2/auth/login");
    login.searchParams.set("next", returnAddress());
    banner.replaceChildren(
      "Your login has expired, and the data below is no longer updated. ",
      el("a", { href: login.href, target: "_top" }, "Log in again"),
    );
  } else if (problem === AccessDenied) {
    const dag = el("code", null, "imagen_stream_health");
    banner.replaceChildren(
      "You do not have access to this page. Ask for permission to read the DAG ",
      dag,
      ".",
    );
  } else {
    banner.replaceChildren();
  }
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
