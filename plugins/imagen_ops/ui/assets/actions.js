// Links to the DAGs that change something, with Airflow's own trigger forms.

import { el, renderList, setText } from "./dom.js";
import { Panel } from "./panel.js";
import { linkTo } from "./server.js";

export function actionsPanel() {
  const body = document.querySelector("#actions .body");

  function show({ dags, user }) {
    const items = dags.map((dag) => ({ ...dag, href: dag.allowed ? linkTo(dag.url) : null }));
    renderList(body.querySelector(".buttons"), items, {
      key: ({ dag_id: id }) => id,
      create: button,
    });
    const loggedIn = user ? `Logged in as ${user}.` : "Logged in.";
    const someDenied = dags.some(({ allowed }) => !allowed);
    setText(
      body.querySelector(".user"),
      someDenied
        ? `${loggedIn} You may not trigger the DAGs that are greyed out: that needs another Airflow role.`
        : loggedIn,
    );
  }

  return new Panel({
    id: "actions",
    path: () => "api/actions",
    show,
    isEmpty: ({ dags }) => !dags.length,
    empty: "No DAGs yet. Airflow loads them a minute or so after a deployment.",
  });
}

function button({ dag_id: id, label, description, href }) {
  const about = `about-${id}`;
  const control = href
    ? el("a", { class: "button", href, target: "_top", "aria-describedby": about }, label)
    : el("button", { class: "button", type: "button", disabled: true, "aria-describedby": `${about} user` }, label);
  return el(
    "li",
    { "data-dag": id },
    control,
    el("p", { id: about }, description),
  );
}
