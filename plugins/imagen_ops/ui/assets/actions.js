// The ways from here to what changes something: Airflow's own trigger forms.

import { el, keyed, say } from "./dom.js";
import { Panel } from "./panel.js";
import { linkTo } from "./server.js";

export function actionsPanel() {
  const body = document.querySelector("#actions .body");

  function show({ dags, user }) {
    const items = dags.map((dag) => ({ ...dag, href: dag.allowed ? linkTo(dag.url) : null }));
    keyed(body.querySelector(".buttons"), items, { key: ({ dag_id: id }) => id, make: button });
    const who = user ? `You are ${user}` : "You are logged in";
    const barred = dags.some(({ allowed }) => !allowed);
    say(
      body.querySelector(".user"),
      barred
        ? `${who}, and may not trigger what is greyed out: that takes a role of Airflow's that may.`
        : `${who}.`,
    );
  }

  return new Panel({
    id: "actions",
    path: () => "api/actions",
    show,
    isEmpty: ({ dags }) => !dags.length,
    empty: "None of the DAGs is here yet: Airflow reads them in a minute or so after a deployment.",
  });
}

function button({ dag_id: id, label, description, href }) {
  const about = `about-${id}`;
  const face = href
    ? el("a", { class: "button", href, target: "_top", "aria-describedby": about }, label)
    : el("button", { class: "button", type: "button", disabled: true, "aria-describedby": `${about} user` }, label);
  return el(
    "li",
    { "data-dag": id },
    face,
    el("p", { id: about }, description),
  );
}
