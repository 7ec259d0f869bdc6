// The page: its panels, and when they ask. Each goes its own way; none waits for another.

import { actionsPanel } from "./actions.js";
import { keepTicking, tick } from "./ages.js";
import { backfillsPanel } from "./backfills.js";
import { deadLettersPanel } from "./deadletters.js";
import { el, say } from "./dom.js";
import { addressToComeBackTo, followLinks, followTheme } from "./frame.js";
import { Gallery } from "./images.js";
import { plotsPanel } from "./plots.js";
import { airflowUrl, Refused, serverNow, SignedOut } from "./server.js";
import { streamPanel } from "./stream.js";
import { Viewer } from "./viewer.js";
import { clockWithSeconds } from "./words.js";

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
  backfillsPanel(),
  deadLettersPanel(),
];

const banner = document.getElementById("banner");
const refreshed = document.getElementById("refreshed");
const refreshNow = document.getElementById("refresh-now");
const pause = document.getElementById("refresh-switch");
const state = { asked: 0, paused: false, timer: 0, goodAt: null };

async function refresh() {
  clearTimeout(state.timer);
  state.asked = Date.now();
  refreshNow.setAttribute("aria-busy", "true");
  const outcomes = await Promise.all(panels.map((panel) => panel.refresh()));
  refreshNow.removeAttribute("aria-busy");
  const good = outcomes.filter((outcome) => outcome === "good").length;
  if (good) state.goodAt = new Date(serverNow());
  warn(outcomes);
  sayRefreshed(panels.length - good);
  tick();
  schedule();
}

function schedule() {
  clearTimeout(state.timer);
  if (state.paused || document.hidden) return;
  state.timer = setTimeout(refresh, Math.max(0, state.asked + EVERY_MS - Date.now()));
}

function sayRefreshed(failed) {
  const trouble = failed ? `${failed} of ${panels.length} parts could not be read. ` : "";
  const when = state.goodAt ? `Refreshed ${clockWithSeconds(state.goodAt)}` : "Nothing read yet";
  say(refreshed, `${trouble}${when}${state.paused ? ", paused" : ""}`);
  refreshed.toggleAttribute("data-trouble", failed > 0);
}

/** What concerns the page as a whole: who is looking. */
function warn(outcomes) {
  const kind = [SignedOut, Refused].find((type) => outcomes.some((outcome) => outcome instanceof type));
  const name = kind === SignedOut ? "signed-out" : kind === Refused ? "refused" : "";
  if ((banner.dataset.kind ?? "") === name) return; // told already: no second announcement
  banner.dataset.kind = name;
  banner.className = name ? "banner" : "";
  if (kind === SignedOut) {
    const login = airflowUrl("api/v2/auth/login");
    login.searchParams.set("next", addressToComeBackTo());
    banner.replaceChildren(
      "Your login has ended: what is below grows old. ",
      el("a", { href: login.href, target: "_top" }, "Log in again"),
    );
  } else if (kind === Refused) {
    const dag = el("code", null, "imagen_stream_health");
    banner.replaceChildren("You may not see this page: it needs the permission to read the DAG ", dag, ".");
  } else {
    banner.replaceChildren();
  }
}

refreshNow.addEventListener("click", refresh);
pause.addEventListener("click", () => {
  state.paused = !state.paused;
  pause.setAttribute("aria-checked", String(!state.paused));
  if (state.paused) {
    clearTimeout(state.timer);
    say(refreshed, `${refreshed.textContent}, paused`);
  } else {
    refresh();
  }
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(state.timer);
  else if (!state.paused) refresh();
});

keepTicking();
refresh();
