"""Routes of the local cloud alone, to see a job's workers, kill one, and add one.

On Dataflow, machines fail and autoscaling decides; here, whoever tries it does.
"""

from aiohttp import web

from localcloud.dataflow.jobs import Job
from localcloud.dataflow.service import JobService
from localcloud.rest import ApiError


def add_worker_routes(app: web.Application, service: JobService) -> None:
    """Add `/localcloud/jobs/ID/workers` to an app.

    GET lists the workers, POST adds one, and POST of `…/workers/NAME/kill` kills one. A browser is
    sent to the job's page, any other client gets the list.
    """

    def answer(request: web.Request, job: Job) -> web.Response:
        if request.method == "POST" and "text/html" in request.headers.get("Accept", ""):
            raise web.HTTPSeeOther(f"/dataflow/jobs/{job.location}/{job.id}")
        return web.json_response(
            {
                "workers": [worker.resource() for worker in service.workers(job)],
                "target": job.workers,
                "maxWorkers": job.max_workers,
            }
        )

    def job_of(request: web.Request) -> Job:
        job_id = request.match_info["job"]
        for job in service.registry.all():
            if job.id == job_id:
                return job
        raise ApiError(404, f"There is no job {job_id}.")

    async def show(request: web.Request) -> web.Response:
        return answer(request, job_of(request))

    async def add(request: web.Request) -> web.Response:
        return answer(request, await service.add_worker(job_of(request)))

    async def kill(request: web.Request) -> web.Response:
        job = job_of(request)
        service.kill_worker(job, request.match_info["worker"])
        return answer(request, job)

    path = "/localcloud/jobs/{job}/workers"
    app.router.add_get(path, show)
    app.router.add_post(path, add)
    app.router.add_post(f"{path}/{{worker}}/kill", kill)
