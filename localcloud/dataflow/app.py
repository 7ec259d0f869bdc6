"""The HTTP interface of the stand-in for Dataflow: routes, requests and responses."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from localcloud import rest
from localcloud.dataflow import logs, metrics
from localcloud.dataflow.jobs import Job
from localcloud.dataflow.launching import Launch
from localcloud.dataflow.listing import jobs_page, messages_page
from localcloud.dataflow.page import JobPage
from localcloud.dataflow.registry import JobFolder
from localcloud.dataflow.schema import checked
from localcloud.dataflow.service import JobService
from localcloud.dataflow.states import JobState, View
from localcloud.dataflow.submissions import Objects, submitted_job
from localcloud.dataflow.worker_routes import add_worker_routes
from localcloud.rest import ApiError
from localcloud.tunable_settings import add_settings_routes

_PAGE_LOG_LINES = 200
_PAGE_MESSAGES = 200
# A submission carries its pipeline's description; the service accepts up to 10 MB.
_MAX_BYTES = 10 << 20
# The form of `jobs.new_job_id`. Links to the console have more text around the id.
_JOB_ID = re.compile(r"\d{4}-\d\d-\d\d_\d\d_\d\d_\d\d-\d+")


def dataflow_app(
    service: JobService,
    objects: Objects,
    environment: Mapping[str, str],
    *,
    seed: int | None = None,
) -> web.Application:
    """Return an app that serves version v1b3 of Dataflow's API.

    Beyond Google's routes, `GET /localcloud` returns call counts by method and the settings, a
    PATCH of it with a JSON object changes settings, and `/dataflow/jobs/LOCATION/ID` shows a job.
    `worker_routes` has those for a job's workers.

    Args:
        service: runs the jobs.
        objects: Cloud Storage, for templates and staged files.
        environment: the variables by which jobs find the other stand-ins.
        seed: makes injected faults repeatable.
    """
    api = _Api(service, objects, environment)
    faults = rest.Faults(service.settings, seed=seed)
    app = web.Application(client_max_size=_MAX_BYTES, middlewares=[rest.errors])
    project = "/v1b3/projects/{project}"
    place = f"{project}/locations/{{location}}"
    for http, path, method, handler in (
        ("POST", f"{place}/flexTemplates:launch", "flexTemplates.launch", api.launch),
        ("GET", f"{project}/jobs:aggregated", "jobs.aggregated", api.list_jobs),
        *(
            route
            for where in (place, project)
            for route in (
                ("POST", f"{where}/jobs", "jobs.create", api.create),
                ("GET", f"{where}/jobs", "jobs.list", api.list_jobs),
                ("GET", f"{where}/jobs/{{job}}", "jobs.get", api.get),
                ("PUT", f"{where}/jobs/{{job}}", "jobs.update", api.update),
                ("GET", f"{where}/jobs/{{job}}/metrics", "jobs.getMetrics", api.metrics),
                ("GET", f"{where}/jobs/{{job}}/messages", "jobs.messages.list", api.messages),
            )
        ),
    ):
        app.router.add_route(http, path, faults.wrap(method, handler))

    add_settings_routes(app, service.settings, lambda: faults.counts)
    add_worker_routes(app, service)
    app.router.add_get("/dataflow/jobs/{location}/{job:.+}", api.page)
    # Stands in for the console's log search for one job: the job's page shows its log.
    app.router.add_get("/logs/{job:query;query=(?s:.+)}", api.page)
    return app


class _Api:
    def __init__(
        self, service: JobService, objects: Objects, environment: Mapping[str, str]
    ) -> None:
        self._service = service
        self._registry = service.registry
        self._objects = objects
        self._environment = environment

    async def launch(self, request: web.Request) -> web.Response:
        body = await rest.json_object(request)
        launch = await asyncio.to_thread(Launch.from_request, body, self._objects.read)
        # There is no await from here on, so that of two launches of one name only one succeeds.
        job = launch.job(self._registry, request.match_info["project"], _location(request))
        if launch.validate_only:
            self._registry.check_name_free(job.project, job.location, job.name, job.replaces)
            return web.json_response({})
        job = self._service.launch(job)
        shown = job.resource(View.SUMMARY)
        # The service answers before the job has a state or a type.
        del shown["currentState"], shown["type"], shown["jobMetadata"]
        return web.json_response({"job": shown | {"currentStateTime": "1970-01-01T00:00:00Z"}})

    async def create(self, request: web.Request) -> web.Response:
        job = await submitted_job(
            await rest.json_object(request),
            self._registry,
            self._objects,
            project=request.match_info["project"],
            location=_location(request),
            replaces=request.query.get("replaceJobId"),
            environment=self._environment,
        )
        known = any(each.id == job.id for each in self._registry.all())
        return web.json_response(
            (job if known else self._service.launch(job)).resource(_view(request))
        )

    async def list_jobs(self, request: web.Request) -> web.Response:
        # Without a location, list the jobs of all regions, as `aggregated` does.
        location = request.match_info.get("location") or request.query.get("location")
        jobs = self._registry.all(request.match_info["project"], location)
        listed_if_before = rest.now() - self._service.settings.unlisted_s
        jobs = [
            job
            for job in jobs
            if job.state is not JobState.QUEUED or job.created_at <= listed_if_before
        ]
        return web.json_response(jobs_page(jobs, request.query))

    async def get(self, request: web.Request) -> web.Response:
        return web.json_response(self._job(request).resource(_view(request)))

    async def update(self, request: web.Request) -> web.Response:
        body = checked("Job", await rest.json_object(request))
        job = self._job(request)
        if "requestedState" not in body:
            raise ApiError(400, "Expected a requestedState; nothing else can be changed here.")
        try:
            state = JobState(body["requestedState"])
        except ValueError:
            state = JobState.UNKNOWN
        return web.json_response(self._service.request(job, state).resource(View.SUMMARY))

    async def metrics(self, request: web.Request) -> web.Response:
        job = self._job(request)
        answer = await asyncio.to_thread(
            metrics.job_metrics, self._registry.folder(job.id), deals_bundles=job.deals_bundles
        )
        if start := request.query.get("startTime"):
            since = rest.parse_time("start_time", start)
            answer["metrics"] = [
                update
                for update in answer.get("metrics", ())
                if rest.parse_time("update_time", update["updateTime"]) >= since
            ]
        return web.json_response(answer)

    async def messages(self, request: web.Request) -> web.Response:
        messages = self._registry.messages(self._job(request).id)
        return web.json_response(messages_page(messages, request.query))

    async def page(self, request: web.Request) -> web.Response:
        """Answer with a job's page. Ignores what the console's own links append to the id.

        Those links are `/dataflow/jobs/LOCATION/ID/step=…;…?project=…` and `…/ID;step=…`.
        """
        match = _JOB_ID.search(request.match_info["job"])
        job_id = match[0] if match else "of that id"
        location = request.match_info.get("location")
        for job in self._registry.all(request.query.get("project"), location):
            if job.id == job_id:
                break
        else:
            raise ApiError(404, f"There is no job {job_id}.")
        folder = self._registry.folder(job.id)
        shown = JobPage(
            job,
            self._registry.messages(job.id)[-_PAGE_MESSAGES:],
            await asyncio.to_thread(metrics.totals, folder),
            self._service.workers(job),
            await asyncio.to_thread(_tails, folder),
        )
        return web.Response(text=shown.html(), content_type="text/html")

    def _job(self, request: web.Request) -> Job:
        info = request.match_info
        location = info.get("location") or request.query.get("location")
        return self._registry.get(info["project"], location, info["job"])


def _tails(folder: JobFolder) -> dict[str, str]:
    return {
        process.log.name: logs.tail(process.log, _PAGE_LOG_LINES) for process in folder.processes()
    }


def _location(request: web.Request) -> str:
    location: Any = request.match_info.get("location") or request.query.get("location")
    return str(location or "us-central1")


def _view(request: web.Request) -> View:
    return View(rest.parse_enum("view", request.query.get("view"), list(View)))
