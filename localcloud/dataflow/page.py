"""A job's web page, in place of the page that links to the Cloud console open."""

import dataclasses
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from localcloud.dataflow.jobs import Job, Message
from localcloud.dataflow.worker_pool import Worker
from localcloud.rest import rfc3339

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:68rem;padding:0 1rem;color:#222}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top}
td,th{padding:.25rem .75rem .25rem 0;border-bottom:1px solid #ddd}
th{font-weight:600;white-space:nowrap}td{white-space:pre-wrap;overflow-wrap:anywhere}
pre{background:#f5f5f5;padding:1rem;overflow:auto;font-size:13px}
.error td{color:#a00}
"""


@dataclasses.dataclass(frozen=True)
class JobPage:
    """The page's contents.

    Attributes:
        job: the job.
        messages: its newest messages.
        metrics: its metrics, by name.
        workers: those that run now.
        logs: the ends of its processes' logs, by the logs' names.
    """

    job: Job
    messages: Sequence[Message]
    metrics: Mapping[str, Any]
    workers: Sequence[Worker]
    logs: Mapping[str, str]

    def html(self) -> str:
        """Return the page as HTML. All values are escaped, and the page loads nothing else."""
        job = self.job
        refresh = '<meta http-equiv="refresh" content="5">' if job.active else ""
        facts = {
            "State": job.state.value,
            "Since": rfc3339(job.state_at),
            "Created": rfc3339(job.created_at),
            "Id": job.id,
            "Type": job.type.value,
            "Project": job.project,
            "Region": job.location,
            "Template": job.template,
            "Replaces": job.replaces,
            "Replaced by": job.replaced_by,
            "Labels": ", ".join(f"{key}={value}" for key, value in job.labels.items()),
        }
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8">{refresh}'
            f"<title>{_text(job.name)}: {_text(job.state.value)}</title><style>{_STYLE}</style>"
            f"</head><body><h1>{_text(job.name)}</h1>"
            + _table((name, value) for name, value in facts.items() if value)
            + "<h2>Parameters</h2>"
            + _table(job.parameters.items())
            + "<h2>Metrics</h2>"
            + _table((name, _number(value)) for name, value in sorted(self.metrics.items()))
            + self._workers()
            + "<h2>Messages</h2><table>"
            + "".join(
                f'<tr class="{message.importance.name.lower()}">'
                f"<th>{_text(rfc3339(message.time))}</th><td>{_text(message.text)}</td></tr>"
                for message in reversed(self.messages)
            )
            + "</table>"
            + "".join(
                f"<h2>{_text(name.replace('log', 'Log'))}</h2><pre>{_text(log)}</pre>"
                for name, log in self.logs.items()
            )
            + "</body></html>"
        )

    def _workers(self) -> str:
        if not self.workers:
            return ""
        path = f"/localcloud/jobs/{self.job.id}/workers"
        rows = "".join(
            f"<tr><th>{_text(worker.name)}</th><td>process {worker.process.pid}</td>"
            f"<td>log{_text(f'.{worker.slot}' if worker.slot else '')}</td>"
            f"<td>{_button(f'{path}/{worker.name}/kill', 'Kill')}</td></tr>"
            for worker in self.workers
        )
        more = self.job.workers < self.job.max_workers
        return (
            f"<h2>Workers: {len(self.workers)} of {self.job.workers}, at most "
            f"{self.job.max_workers}</h2><table>{rows}</table>"
            f"{_button(path, 'Add a worker') if more else ''}"
        )


def _table(rows: Iterable[tuple[str, Any]]) -> str:
    cells = (f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in rows)
    return f"<table>{''.join(cells)}</table>"


def _button(path: str, label: str) -> str:
    return f'<form method="post" action="{_text(path)}"><button>{_text(label)}</button></form>'


def _number(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items())
    return str(value)


def _text(value: Any) -> str:
    return html.escape(str(value))
