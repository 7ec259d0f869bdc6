"""What Airflow says, for people to read."""

import pytest

from localcloud.airflow.responses import (
    AirflowApiError,
    RunState,
    TaskInstance,
    error_detail,
    log_line,
)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"detail": "no such DAG"}, "no such DAG"),
        (
            {"detail": [{"loc": ["body", "conf", "n"], "msg": "too big"}, {"msg": "x"}]},
            "conf.n: too big; x",
        ),
        ({"detail": {"reason": "Unique constraint violation"}}, "Unique constraint violation"),
        ("<html>bad gateway</html>\n", "<html>bad gateway</html>"),
        (None, "None"),
    ],
    ids=["text", "list", "object", "no JSON", "nothing"],
)
def test_an_errors_message_is_found_in_every_response_format(answer, words):
    assert error_detail(answer) == words


def test_an_error_contains_the_request_the_status_and_the_message():
    error = AirflowApiError("POST /api/v2/dags/x/dagRuns", 422, "n: too big")
    assert str(error) == "POST /api/v2/dags/x/dagRuns returned 422: n: too big"
    assert (error.status, error.detail) == (422, "n: too big")


def test_a_log_entry_keeps_the_error_that_it_carries():
    entry = {
        "timestamp": "2026-11-22T21:00:00Z",
        "level": "error",
        "event": "Task failed",
        "error_detail": [
            {
                "exc_type": "RuntimeError",
                "exc_value": "burst",
                "frames": [{"filename": "pipe.py", "lineno": 7, "name": "flow"}],
            }
        ],
    }
    assert log_line(entry) == "ERROR Task failed\n  pipe.py:7 in flow\nRuntimeError: burst"
    assert log_line({"event": "::group::Log"}) == "::group::Log"
    assert log_line("a bare line") == "a bare line"


def test_only_success_and_failure_are_final_states():
    assert [state for state in RunState if state.ended] == [RunState.SUCCESS, RunState.FAILED]


def test_a_mapped_task_is_named_with_its_index():
    answer = {"task_id": "t", "map_index": 3, "state": None, "try_number": 0, "pid": None}
    answer["more"] = 1
    assert TaskInstance.from_api(answer).name == "t[3]"
    assert TaskInstance.from_api({**answer, "map_index": -1}).name == "t"
