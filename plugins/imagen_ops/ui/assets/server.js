// Asking the server, and what its answers mean. Its clock is the one that ages are told by.

const PATIENCE_MS = 20_000;
const WEB = new Set(["http:", "https:"]);

/** The login has ended: there is nothing to ask until somebody logs in. */
export class SignedOut extends Error {
  message = "your login has ended";
}

/** Logged in, and not allowed to look. */
export class Refused extends Error {
  message = "you may not see this";
}

let ahead = 0;

/** Milliseconds of the server's clock: a reader's own may be wrong by hours. */
export const serverNow = () => Date.now() + ahead;

/** Where Airflow is, whatever path it is served under. */
export const airflowUrl = (path) => new URL(path, new URL("..", document.baseURI));

/** The address `given` in Airflow or on the web, or null if it is none to follow. */
export function linkTo(given) {
  if (typeof given !== "string" || !given) return null;
  try {
    const url = airflowUrl(given);
    return WEB.has(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** Where an image is served, or null if what is `given` leads anywhere else. */
export function imageUrl(given) {
  if (typeof given !== "string") return null;
  try {
    const url = new URL(given, document.baseURI);
    return url.href.startsWith(new URL("images/", document.baseURI).href) ? url.href : null;
  } catch {
    return null;
  }
}

/**
 * Ask for a panel: `{at, data, error}`.
 * Throws SignedOut, Refused, or another Error: its message says in words what is wrong.
 */
export async function ask(path) {
  const answer = await answerOf(path);
  if (answer.type === "opaqueredirect" || answer.status === 401) throw new SignedOut();
  if (answer.status === 403) throw new Refused();
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  const body = await answer.json().catch(() => null);
  if (body === null || typeof body !== "object") {
    throw new Error("the server answered something that is not JSON");
  }
  const at = Date.parse(body.at);
  if (!Number.isNaN(at)) ahead = at - Date.now();
  return { at: body.at ?? null, data: body.data ?? null, error: body.error ?? null };
}

async function answerOf(path) {
  try {
    return await fetch(new URL(path, document.baseURI), {
      cache: "no-store",
      credentials: "same-origin",
      headers: { Accept: "application/json" },
      // A login elsewhere cannot be followed from here, and its page would be no answer.
      redirect: "manual",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
  } catch (error) {
    throw new Error(
      error.name === "TimeoutError"
        ? `the server has not answered within ${PATIENCE_MS / 1000} s`
        : "the server cannot be reached",
    );
  }
}
