"""The engine that all threads of a process share, and Beam's view of it."""

import dataclasses
import gc
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from beam_jobs.config.budgets import Budget
from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.serving import Serving
from beam_jobs.engine import backoff
from beam_jobs.engine.model_handler import Engine, ImagenModelHandler, engine_for
from beam_jobs.engine.served_models import resource_of
from beam_jobs.images.location import Location
from beam_jobs.outcomes import Failure, Prediction, Reason
from beam_jobs.prompts.canary import Canary
from beam_jobs.prompts.defaults import PromptDefaults

pytestmark = pytest.mark.slow

ENDPOINT = "projects/demo-project/locations/us-central1/endpoints/1234"
GEMINI, FLUX = "gemini-3.1-flash-image", "flux-1"


@pytest.fixture
def config(lane):
    return JobConfig(
        responses_topic=lane.topic("predictions"),
        dead_letter_topic=lane.topic("dead-letters"),
        images_location=Location.parse(lane.images_location),
        defaults=PromptDefaults(
            model=FLUX, allowed_models=frozenset({GEMINI, FLUX}), model_endpoint=ENDPOINT
        ),
        project="demo-project",
        max_in_flight=8,
        requests_per_minute=None,
        max_retry_s=60.0,
        serving=Serving(call_timeout_s=60.0),
    )


def test_a_batch_gives_one_outcome_for_each_of_its_prompts_in_their_order(config, prompt_of):
    handler = ImagenModelHandler(config)
    engine = handler.load_model()
    batch = [
        prompt_of("a fox", id="1"),
        Canary("probe"),
        prompt_of("a fox fault:blocked", id="2"),
        prompt_of("an owl", model=FLUX, id="3"),
        prompt_of("a fox", id="4"),
    ]
    outcomes = list(handler.run_inference(batch, engine))
    assert [outcome.prompt_id for outcome in outcomes] == ["1", "~canary:probe", "2", "3", "4"]
    assert [type(outcome) for outcome in outcomes] == [
        Prediction,
        Prediction,
        Failure,
        Prediction,
        Prediction,
    ]
    assert outcomes[0].images == outcomes[4].images
    assert outcomes[2].reason is Reason.BLOCKED
    assert list(handler.run_inference([], engine)) == []


def test_all_threads_share_one_engine_one_window_and_the_prompts_in_progress(
    cloud, config, prompt_of
):
    cloud.models(latency_s=0.2)
    before = cloud.models()
    together = threading.Barrier(12)

    def work(number):
        together.wait()
        engine = ImagenModelHandler(config).load_model()
        (outcome,) = engine.run([prompt_of(f"fox number {number % 3}")])
        return engine, outcome

    with ThreadPoolExecutor(12) as threads:
        done = list(threads.map(work, range(12)))
    assert len({id(engine) for engine, _ in done}) == 1
    assert all(isinstance(outcome, Prediction) for _, outcome in done)
    assert cloud.models()["images"] - before["images"] == 3
    assert done[0][0].in_flight == 0


def test_the_endpoint_serves_the_jobs_model_and_no_other(config):
    assert resource_of(FLUX, config) == ENDPOINT
    assert resource_of("imagen-4.0-generate-001", config) == (
        "projects/demo-project/locations/us-central1/publishers/google/models/"
        "imagen-4.0-generate-001"
    )


def test_another_config_has_an_engine_of_its_own(config):
    assert engine_for(config) is engine_for(dataclasses.replace(config))
    assert engine_for(config) is not engine_for(dataclasses.replace(config, max_in_flight=9))


def test_calls_of_the_process_stay_below_the_ceiling(cloud, config, prompt_of):
    cloud.models(latency_s=0.05)
    engine = Engine(dataclasses.replace(config, max_in_flight=3))
    seen = []
    done = threading.Event()

    def watch():
        while not done.is_set():
            seen.append(engine.in_flight)
            done.wait(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    outcomes = engine.run([prompt_of(f"fox number {number}") for number in range(30)])
    done.set()
    watcher.join()
    assert all(isinstance(outcome, Prediction) for outcome in outcomes)
    assert max(seen) == 3


def test_the_rate_of_the_config_is_kept(config, prompt_of):
    engine = Engine(dataclasses.replace(config, requests_per_minute=120.0))
    # All of one prompt, so that its calls arrive together even on a slow machine.
    (outcome,) = engine.run([prompt_of("a fox", images=4)])
    # Two may start at once, the others 0.5 s apart.
    assert outcome.work.throttled_ms >= 1400


def test_the_budget_of_the_config_is_kept(cloud, config, prompt_of):
    before = cloud.models()["images"]
    budget = Budget("--max_images", 2, f"{config.images_location.prefix}budget.json")
    engine = Engine(dataclasses.replace(config, budgets=(budget,)))
    outcomes = engine.run([prompt_of(f"fox number {number}") for number in range(5)])
    assert [type(outcome) for outcome in outcomes].count(Prediction) == 2
    assert cloud.models()["images"] - before == 2


def test_without_an_endpoint_a_predict_model_is_called_at_google(config, prompt_of):
    googles = dataclasses.replace(config.defaults, model_endpoint=None)
    engine = Engine(dataclasses.replace(config, defaults=googles, max_hold_s=0.0))
    (outcome,) = engine.run([prompt_of("a fox", model="imagen-4.0-generate-001")])
    assert isinstance(outcome, Failure)
    assert "Publisher Model `imagen-4.0-generate-001` was not found" in outcome.detail


def test_many_large_images_arrive_complete(cloud, lane, config, prompt_of):
    cloud.models(canned_bytes=1_500_000)
    engine = Engine(dataclasses.replace(config, max_in_flight=32))
    outcomes = engine.run([prompt_of(f"fox number {number}", images=2) for number in range(12)])
    assert all(isinstance(outcome, Prediction) for outcome in outcomes)
    pictures = [data for name, data in lane.objects("images/").items() if name.endswith(".png")]
    assert len(pictures) == 24
    assert all(len(data) >= 1_500_000 and data == pictures[0] for data in pictures)


def test_storage_that_fails_often_does_not_make_prompts_wait_for_one_another(
    cloud, config, prompt_of, monkeypatch
):
    """As many prompts upload at once as there are answer slots, and each one meets failures."""
    # Pauses of up to 30 s would leave time for so few attempts that all of them may fail.
    monkeypatch.setattr(backoff, "BACKOFF_MAX_S", 1.0)
    cloud.storage(error_rate=0.4, error_status=503)
    engine = Engine(dataclasses.replace(config, max_in_flight=64))
    try:
        outcomes = engine.run([prompt_of(f"heron {number}", images=2) for number in range(100)])
    finally:
        cloud.storage(error_rate=0.0)
    assert all(isinstance(outcome, Prediction) for outcome in outcomes)


def test_imported_modules_are_exempt_from_garbage_collection(config, prompt_of):
    gc.unfreeze()  # what the tests' own start has exempted
    engine = Engine(config)
    engine.run([prompt_of("a fox")])
    assert gc.get_freeze_count() > len(gc.get_objects())


def test_the_handler_travels_to_workers_and_batches_prompts_by_windows(config):
    handler = pickle.loads(pickle.dumps(ImagenModelHandler(config)))
    assert handler.batch_elements_kwargs() == {
        "min_batch_size": 32,
        "max_batch_size": 32,
    }
    assert handler.get_metrics_namespace() == "imagen"


def test_the_size_of_a_batch_is_that_of_its_bodies(config, prompt_of):
    batch = [prompt_of("a fox"), Canary("x", body=b"12345")]
    assert ImagenModelHandler(config).get_num_bytes(batch) == len(batch[0].body) + 5
