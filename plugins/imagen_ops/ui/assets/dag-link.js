// Links to DAGs, where their forms are.

import { el } from "./dom.js";
import { airflowUrl } from "./server.js";

/** A DAG's id, as a link to the DAG. */
export const dagLink = (dagId) =>
  el("a", { href: airflowUrl(`dags/${dagId}`).href, target: "_top" }, el("code", null, dagId));

/** The parts of a message, with the ids of DAGs, between backticks, as links. */
export const withDags = (text) => text.split("`").map((part, index) => (index % 2 ? dagLink(part) : part));
