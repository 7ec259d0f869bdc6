import types

import pytest

from imagen_ops.jobs.links import JOB_LINKS, JobLink, LinkedJob, LogsLink, MetricsLink

JOB = LinkedJob("https://console.cloud.google.com", "my-project", "us-central1", "2026-11-22_1-7")


@pytest.mark.parametrize(
    ("link", "address"),
    [
        (
            JobLink(),
            "https://console.cloud.google.com/dataflow/jobs/us-central1/2026-11-22_1-7"
            "?project=my-project",
        ),
        (
            MetricsLink(),
            "https://console.cloud.google.com/dataflow/jobs/us-central1/2026-11-22_1-7"
            ";mainTab=JOB_METRICS?project=my-project",
        ),
        (
            LogsLink(),
            "https://console.cloud.google.com/logs/query;query="
            "resource.type%3D%22dataflow_step%22%0A"
            "resource.labels.job_id%3D%222026-11-22_1-7%22?project=my-project",
        ),
    ],
    ids=["job", "metrics", "logs"],
)
def test_a_link_leads_to_the_job(link: JobLink, address: str) -> None:
    operator = types.SimpleNamespace(linked_job=JOB)
    assert link.get_link(operator, ti_key=None) == address


@pytest.mark.parametrize("link", JOB_LINKS, ids=lambda link: link.name)
def test_a_task_without_a_job_has_empty_links(link: JobLink) -> None:
    assert link.get_link(types.SimpleNamespace(linked_job=None), ti_key=None) == ""


def test_each_link_has_its_own_xcom_key() -> None:
    assert len({link.xcom_key for link in JOB_LINKS}) == len(JOB_LINKS)
