// Requests to the server, and what its answers mean. Ages are measured by the server's clock.

const TIMEOUT_MS = 20_000;
const MAX_RETRY_S = 30;
const WEB_PROTOCOLS = new Set(["http:", "https:"]);

/** The login has expired: no request can succeed until the user logs in again. */
export class LoginExpired extends Error {
  message = "your login has expired";
}

/** The user is logged in, but may not see the page. */
export class AccessDenied extends Error {
  message = "you do not have access";
}

/** The server has no place for the request now. `seconds`: when to try again. */
export class Busy extends Error {
  constructor(seconds) {
    super("the server is busy");
    this.seconds = seconds;
  }
}

let clockOffset = 0;

/** Milliseconds of the server's clock. The reader's own clock may be wrong by hours. */
export const serverNow = () => Date.now() + clockOffset;

/** An address in Airflow, whatever path it is served under. */
export const airflowUrl = (path) => new URL(path, new URL("..", document.baseURI));

/** The address of `link` in Airflow or on the web; null if it is not safe to follow. */
export function linkTo(link) {
  if (typeof link !== "string" || !link) return null;
  try {
    const url = airflowUrl(link);
    return WEB_PROTOCOLS.has(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** The address of an image on this server; null if `link` leads anywhere else. */
export function imageUrl(link) {
  if (typeof link !== "string") return null;
  try {
    const url = new URL(link, document.baseURI);
    return url.href.startsWith(folder("images/")) ? url.href : null;
  } catch {
    return null;
  }
}

/** The address of a reference on this server, which may be an image; null if `link` leads elsewhere. */
export function referenceUrl(link) {
  if (imageUrl(link)) return imageUrl(link);
  if (typeof link !== "string" || !URL.canParse(link, document.baseURI)) return null;
  const { href } = new URL(link, document.baseURI);
  return href.startsWith(folder("references/")) ? href : null;
}

/** The address of its thumbnail, where the server has the image itself if there is none. */
export const thumbnailUrl = (link) =>
  imageUrl(link)?.replace(folder("images/"), folder("thumbnails/")) ?? null;

const folder = (name) => new URL(name, document.baseURI).href;

/**
 * Request a panel's data: `{at, data, error, cause}`.
 * Throws LoginExpired, AccessDenied, Busy, or another Error whose message tells the reader what is wrong.
 */
export async function fetchPanel(path) {
  const response = await fetchResponse(path);
  if (response.type === "opaqueredirect" || response.status === 401) throw new LoginExpired();
  if (response.status === 403) throw new AccessDenied();
  const retryAfter = Number(response.headers.get("Retry-After"));
  if (response.status === 503 && retryAfter > 0) throw new Busy(Math.min(retryAfter, MAX_RETRY_S));
  if (!response.ok) throw new Error(`the server answered with HTTP status ${response.status}`);
  const body = await response.json().catch(() => null);
  if (body === null || typeof body !== "object") {
    throw new Error("the server's answer is not JSON");
  }
  const at = Date.parse(body.at);
  if (!Number.isNaN(at)) clockOffset = at - Date.now();
  const { at: time = null, data = null, error = null, cause = null } = body;
  return { at: time, data, error, cause };
}

async function fetchResponse(path) {
  try {
    return await fetch(new URL(path, document.baseURI), {
      cache: "no-store",
      credentials: "same-origin",
      headers: { Accept: "application/json" },
      // A redirect leads to a login on another host, which cannot be followed from here.
      redirect: "manual",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch (error) {
    throw new Error(
      error.name === "TimeoutError"
        ? `the server has not answered within ${TIMEOUT_MS / 1000} s`
        : "the server cannot be reached",
    );
  }
}
