// Elements from data, and lists that change in place. Text always becomes text nodes: nothing here
// can create markup from it.

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

/** An HTML element. Leaves out attributes and children that are null or false; strings become text. */
export const el = (tag, attributes, ...children) =>
  fill(document.createElement(tag), attributes, children);

/** An SVG element, in the same way. */
export const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

/** Set an element's text. If it is the same, do not touch it: the reader may have selected it. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const rendered = new WeakMap();

function replaceNode(old, fresh) {
  const focused = [...old.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement);
  if (old instanceof HTMLDetailsElement) fresh.open = old.open;
  old.replaceWith(fresh);
  if (focused >= 0) fresh.querySelectorAll(FOCUSABLE)[focused]?.focus({ preventScroll: true });
}

/**
 * Make the children of `parent` show `items`, and touch only what differs: whatever stays keeps its
 * position, focus and selection, and stays open if it was.
 *
 * @param {(item: object) => string} key identifies an item across calls
 * @param {(item: object) => Element} create creates the element of an item
 */
export function renderList(parent, items, { key, create }) {
  const before = rendered.get(parent) ?? new Map();
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
    const node = create(item);
    if (old) replaceNode(old.node, node);
    after.set(name, { node, content });
  }
  for (const [name, old] of before) if (!after.has(name)) old.node.remove();
  let place = parent.firstChild;
  for (const { node } of after.values()) {
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
  }
  rendered.set(parent, after);
}

/** Make `parent` show one sentence about `facts`, and leave it alone while they are the same. */
export const renderSentence = (parent, facts, create) =>
  renderList(parent, [facts], { key: () => "", create: () => el("span", null, ...create(facts)) });

/** The element that `renderList` created in `parent` for a key, or null. */
export const listItem = (parent, name) => rendered.get(parent)?.get(name)?.node ?? null;
