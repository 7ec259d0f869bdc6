// Living inside Airflow's own page, in an iframe. Its sandbox lets links neither leave the iframe
// nor open a tab. Both pages have the same origin, though, so the page around can follow them.

/** Airflow's document if this page is inside it, or null. */
function outerDocument() {
  try {
    return window.top === window ? null : window.top.document;
  } catch {
    return null; // framed by another origin, which the server does not allow
  }
}

/** The address to return to after a login. */
export const returnAddress = () => (outerDocument() ?? document).location.href;

/** What the address asks for, as search parameters: that of the page around, if there is one. */
export const readAddress = () =>
  new URLSearchParams((outerDocument() ?? document).defaultView.location.search);

/** Keep `values` of the parameters `names` in that address, and leave its others as they are. */
export function keepInAddress(names, values) {
  const { history, location } = (outerDocument() ?? document).defaultView;
  const url = new URL(location.href);
  for (const name of names) url.searchParams.delete(name);
  for (const [name, value] of values) url.searchParams.set(name, value);
  // With the state of Airflow's router, which reads it when the reader goes back.
  history.replaceState(history.state, "", url);
}

/** Follow this page's links in the page around it. */
export function followLinks() {
  const outer = outerDocument();
  if (!outer) return;
  const follow = (event) => {
    const link = event.target.closest?.("a[target]");
    const middle = event.type === "auxclick";
    if (!link || (middle && event.button !== 1)) return;
    event.preventDefault();
    const inNewTab = middle || event.ctrlKey || event.metaKey || event.shiftKey;
    const copy = outer.createElement("a");
    copy.href = link.href;
    copy.rel = link.rel;
    // The sandbox lets the iframe itself download nothing.
    if (link.hasAttribute("download")) copy.download = link.download;
    copy.target = inNewTab || link.target === "_blank" ? "_blank" : "_self";
    outer.body.append(copy);
    copy.click();
    copy.remove();
  };
  document.addEventListener("click", follow);
  document.addEventListener("auxclick", follow);
}

/** Use Airflow's light or dark theme, which its own switch may set differently from the system's. */
export function followTheme() {
  const root = outerDocument()?.documentElement;
  if (!root) return;
  const apply = () => {
    const theme = ["dark", "light"].find((name) => root.classList.contains(name));
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  };
  apply();
  new MutationObserver(apply).observe(root, { attributeFilter: ["class"] });
}
