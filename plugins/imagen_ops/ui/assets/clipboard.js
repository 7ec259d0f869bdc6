// Copying text, also where the browser does not give the page its clipboard.

import { dagLink } from "./dag-link.js";
import { el, setText } from "./dom.js";

/** Put `text` into the clipboard. Returns whether it could. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // The clipboard is not available on plain HTTP, or where the iframe may not use it.
    const field = el("textarea", { readonly: true, class: "offscreen", "aria-hidden": "true" });
    field.value = text;
    const focused = document.activeElement;
    document.body.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    focused?.focus?.({ preventScroll: true });
    return copied;
  }
}

/** A button that copies what `textOf` returns, and says so. If it cannot, it shows the text. */
export function copyButton(label, textOf) {
  const feedback = el("span", { class: "feedback", role: "status" });
  const button = el("button", { type: "button", class: "quiet" }, label);
  button.addEventListener("click", async () => {
    const text = textOf();
    if (await copyText(text)) setText(feedback, "Copied.");
    else feedback.replaceChildren("Could not copy. Here it is: ", el("code", null, text));
  });
  return el("span", { class: "copying" }, button, " ", feedback);
}

/** A form as the JSON that Airflow's trigger form takes. */
export const formAsJson = (form) => JSON.stringify(form, null, 2);

/** Where to paste it: Airflow has no address that opens a trigger form filled in. */
export const whereToPaste = (dagId) => [
  "Paste it into ",
  dagLink(dagId),
  ": Trigger, Advanced Options, Configuration JSON.",
];
