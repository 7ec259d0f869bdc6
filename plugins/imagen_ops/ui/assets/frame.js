// Living inside Airflow's own page. Its iframe is sandboxed: links in here may neither leave it nor
// open a tab. It is of the same origin, though, so that they can be followed from the page around.

/** Airflow's document if this page is inside of it, or null. */
function around() {
  try {
    return window.top === window ? null : window.top.document;
  } catch {
    return null; // framed by another origin, which the server does not allow
  }
}

/** The address that a login is to come back to. */
export const addressToComeBackTo = () => (around() ?? document).location.href;

/** Follow links of the page in the page around it. */
export function followLinks() {
  const outside = around();
  if (!outside) return;
  const follow = (event) => {
    const link = event.target.closest?.("a[target]");
    const middle = event.type === "auxclick";
    if (!link || (middle && event.button !== 1)) return;
    event.preventDefault();
    const aside = middle || event.ctrlKey || event.metaKey || event.shiftKey;
    const step = outside.createElement("a");
    step.href = link.href;
    step.rel = link.rel;
    step.target = aside || link.target === "_blank" ? "_blank" : "_self";
    outside.body.append(step);
    step.click();
    step.remove();
  };
  document.addEventListener("click", follow);
  document.addEventListener("auxclick", follow);
}

/** Be as light or dark as Airflow around, whose own switch may differ from the system's. */
export function followTheme() {
  const root = around()?.documentElement;
  if (!root) return;
  const apply = () => {
    const theme = ["dark", "light"].find((name) => root.classList.contains(name));
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  };
  apply();
  new MutationObserver(apply).observe(root, { attributeFilter: ["class"] });
}
