// Elements from data, and lists that change in place. Text becomes text nodes and nothing else:
// there is no way from here to markup.

const SVG = "http://www.w3.org/2000/svg";
const FOCUSABLE = "a[href], button:not([disabled]), summary, [tabindex]";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

/** An HTML element. Attributes that are null or false are left out; strings become text. */
export const el = (tag, attributes, ...children) =>
  fill(document.createElement(tag), attributes, children);

/** An SVG element, likewise. */
export const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

/** Set an element's text, leaving it alone (and a reader's selection in it) when it is the same. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Words of a message with `code` where they stand between backticks. */
export const marked = (text) =>
  text.split("`").map((part, index) => (index % 2 ? el("code", null, part) : part));

const shown = new WeakMap();

function takePlace(old, fresh) {
  const focused = [...old.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement);
  if (old instanceof HTMLDetailsElement) fresh.open = old.open;
  old.replaceWith(fresh);
  if (focused >= 0) fresh.querySelectorAll(FOCUSABLE)[focused]?.focus({ preventScroll: true });
}

/**
 * Make the children of `parent` show `items`, touching only what differs: what stays keeps its
 * place, its focus, its selection, and whether it is open.
 */
export function keyed(parent, items, { key, make }) {
  const before = shown.get(parent) ?? new Map();
  const after = new Map();
  for (const item of items) {
    let name = String(key(item));
    while (after.has(name)) name += "'";
    const content = JSON.stringify(item);
    const old = before.get(name);
    if (old?.content === content) {
      after.set(name, old);
      continue;
    }
    const node = make(item);
    if (old) takePlace(old.node, node);
    after.set(name, { node, content });
  }
  for (const [name, old] of before) if (!after.has(name)) old.node.remove();
  let place = parent.firstChild;
  for (const { node } of after.values()) {
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
  }
  shown.set(parent, after);
}

/** The node that `keyed` shows for `name` in `parent`, if any. */
export const nodeOf = (parent, name) => shown.get(parent)?.get(name)?.node ?? null;
