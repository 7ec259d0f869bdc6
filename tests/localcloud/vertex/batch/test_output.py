"""A job's output takes no more memory when there is more of it."""

import resource

import pytest

from tests.localcloud.vertex.batch.conftest import Services, row

IMAGE_BYTES = 2_000_000


@pytest.mark.slow
def test_a_job_of_many_large_images_takes_the_memory_of_a_few(services: Services):
    services.models(canned_bytes=IMAGE_BYTES)

    def peak_kib(rows: int) -> int:
        job = services.run([row(f"A fox {n}", n) for n in range(rows)], shard_rows=50)
        assert job["completionStats"] == {"successfulCount": str(rows)}
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    few, many = peak_kib(40), peak_kib(200)
    assert many - few < 40 * 1024, "160 rows more are 430 MB"
