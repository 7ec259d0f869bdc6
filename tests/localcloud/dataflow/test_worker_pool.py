"""A job with several workers: what the API says of them, and who dies, comes, and ends."""

import json
import os
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

pytestmark = pytest.mark.slow

PLACE = {"projectId": "demo-project", "location": "us-central1"}


def call(dataflow, path, *, method="GET", **headers):
    request = urllib.request.Request(f"{dataflow.url}{path}", method=method, headers=headers)
    with urllib.request.urlopen(request) as answer:
        return answer.read().decode()


def refusal(*args, **kwargs):
    with pytest.raises(urllib.error.HTTPError) as caught:
        call(*args, **kwargs)
    error = json.loads(caught.value.read())["error"]
    return error["code"], error["message"]


class Workers:
    def __init__(self, dataflow, job_id):
        self.dataflow = dataflow
        self.path = f"/localcloud/jobs/{job_id}/workers"
        self.job_id = job_id

    def now(self):
        return json.loads(call(self.dataflow, self.path))["workers"]

    def names(self):
        return {worker["name"] for worker in self.now()}

    def pids(self):
        return [worker["pid"] for worker in self.now()]

    def add(self):
        return json.loads(call(self.dataflow, self.path, method="POST"))

    def kill(self, name):
        call(self.dataflow, f"{self.path}/{name}/kill", method="POST")

    def counted(self):
        metrics = self.dataflow.jobs.getMetrics(**PLACE, jobId=self.job_id).execute()
        return {
            each["name"]["name"]: each.get("scalar", each.get("distribution"))
            for each in metrics.get("metrics", ())
        }

    def all_count(self, **expected):
        def counted():
            found = self.counted()
            return found if expected.items() <= found.items() else None

        return self.dataflow.eventually(counted, what=f"metrics with {expected}")


@pytest.fixture
def stream(dataflow):
    def launch(workers, *, at_most=0, **parameters):
        environment = {"numWorkers": workers, "maxWorkers": at_most or workers}
        job_id = dataflow.running(environment=environment, parameters=parameters)
        return Workers(dataflow, job_id)

    return launch


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_metrics_of_all_workers_are_one_sum_and_the_dead_are_in_it(stream):
    workers = stream(3)
    counted = workers.all_count(predictions=6, under_way=9, CurrentWorkers=3)
    assert counted["latency_ms"] == {"count": 6, "sum": 90, "min": 10, "max": 20, "mean": 15}
    before = workers.names()
    assert len(before) == 3
    dead = min(before)
    workers.kill(dead)
    workers.all_count(predictions=8, under_way=9, CurrentWorkers=3)
    assert len(workers.names()) == 3
    assert workers.names() - before, "a replaced worker has a name of its own"
    assert dead not in workers.names()
    assert workers.dataflow.state_of(workers.job_id) == "RUNNING"
    texts = [message["messageText"] for message in workers.dataflow.messages(workers.job_id)]
    assert f"Worker {dead} was killed by SIGKILL and is replaced." in texts
    assert "Starting 3 workers in us-central1..." in texts


def test_workers_can_be_added_up_to_the_most_and_stay_after_a_restart(dataflow, stream):
    workers = stream(1, at_most=2)
    answer = workers.add()
    assert (len(answer["workers"]), answer["target"], answer["maxWorkers"]) == (2, 2, 2)
    workers.all_count(CurrentWorkers=2, predictions=4)
    code, message = refusal(dataflow, workers.path, method="POST")
    assert code == 400
    assert "has 2 workers, and maxWorkers is 2" in message
    listed = dataflow.jobs.messages().list(**PLACE, jobId=workers.job_id).execute()
    kinds = [
        (event["eventType"], event["currentNumWorkers"], event["targetNumWorkers"])
        for event in listed["autoscalingEvents"]
    ]
    assert kinds == [
        ("TARGET_NUM_WORKERS_CHANGED", "1", "2"),
        ("CURRENT_NUM_WORKERS_CHANGED", "2", "2"),
    ]
    dataflow.stop()
    dataflow.start()
    dataflow.eventually(lambda: len(workers.names()) == 2, what="both workers again")


def test_workers_that_are_added_at_once_are_as_many(dataflow, stream):
    workers = stream(1, at_most=4)
    with ThreadPoolExecutor() as threads:
        for adding in [threads.submit(workers.add) for _ in range(3)]:
            adding.result()
    workers.all_count(CurrentWorkers=4, predictions=8)
    assert len(set(workers.pids())) == 4


def test_a_drain_ends_all_workers_and_a_cancellation_does_too(dataflow, stream):
    for state in ("DRAINED", "CANCELLED"):
        workers = stream(2)
        workers.all_count(predictions=4)
        pids = workers.pids()
        dataflow.request(workers.job_id, state)
        dataflow.wait(workers.job_id, state)
        assert not any(map(alive, pids))
        logs = [dataflow.file(workers.job_id, name).read_text() for name in ("log", "log.1")]
        assert all("asked to end" in log for log in logs)


def test_a_drain_does_not_wait_for_a_worker_that_does_not_work_yet(dataflow, stream, tmp_path):
    start = tmp_path / "starts"
    start.touch()
    workers = stream(1, at_most=2, starts_with=str(start))
    start.unlink()
    workers.add()
    dataflow.request(workers.job_id, "DRAINED")
    dataflow.wait(workers.job_id, "DRAINED")


def test_workers_that_end_before_they_work_fail_the_job_and_are_not_replaced(dataflow):
    parameters = {"never_ready": "1", "seconds": "0.05", "exit": "2"}
    job_id = dataflow.launch(environment={"numWorkers": 3}, parameters=parameters)["id"]
    dataflow.wait(job_id, "FAILED")
    (message,) = dataflow.messages(job_id, minimumImportance="JOB_MESSAGE_ERROR")
    assert "ended with exit code 2" in message["messageText"]
    texts = [message["messageText"] for message in dataflow.messages(job_id)]
    assert sum(text.startswith("Worker started") for text in texts) == 3


def test_a_batch_job_with_one_worker_gets_no_second_one(dataflow):
    job_id = dataflow.running(kind="backfill", environment={"numWorkers": 1, "maxWorkers": 2})
    workers = Workers(dataflow, job_id)
    assert len(workers.now()) == 1
    code, message = refusal(dataflow, workers.path, method="POST")
    assert code == 400
    assert "launch it with numWorkers of 2 or more" in message


def test_the_page_has_a_button_for_each_worker_and_one_for_another_worker(dataflow, stream):
    workers = stream(1, at_most=2)
    page = f"/dataflow/jobs/us-central1/{workers.job_id}"
    (name,) = workers.names()
    shown = call(dataflow, page)
    assert f'action="{workers.path}/{name}/kill"' in shown
    assert f'action="{workers.path}"' in shown
    # A browser is sent back to the page.
    after = call(dataflow, workers.path, method="POST", Accept="text/html", Origin=dataflow.url)
    assert "Workers: 2 of 2, at most 2" in after
    assert "Add a worker" not in after


def test_other_sites_and_unknown_workers_are_refused(dataflow, stream):
    workers = stream(1)
    (name,) = workers.names()
    kill = f"{workers.path}/{name}/kill"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        call(dataflow, kill, method="POST", Origin="http://example.com")
    assert refusal(dataflow, f"{workers.path}/other/kill", method="POST") == (
        404,
        f"The job {workers.job_id} has no worker other; it has {name}.",
    )
    assert refusal(dataflow, "/localcloud/jobs/none/workers")[0] == 404
    assert workers.names() == {name}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], (1, 1)),
        (["--num_workers=3"], (3, 3)),
        (["--num_workers=2", "--max_num_workers=5", "--max_images=3"], (2, 5)),
        (["--num_workers=1", "--num_workers", "4"], (4, 4)),
        (["--num_workers=many"], (1, 1)),
    ],
)
def test_the_number_of_workers_comes_from_the_jobs_own_options(given, expected):
    from localcloud.dataflow.flags import workers_of

    assert workers_of(given) == expected
