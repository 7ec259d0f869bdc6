"""Where the services are asked, and which of them are stand-ins."""

import pytest

from beam_jobs.cli.endpoints import (
    DATAFLOW,
    METADATA,
    PUBSUB,
    STORAGE,
    VERTEX,
    endpoints,
    stand_ins_beside,
)


def test_without_variables_all_are_googles():
    found = endpoints({"STORAGE_EMULATOR_HOST": ""}, "global")
    assert {name: str(each) for name, each in found.items()} == {
        PUBSUB: "pubsub.googleapis.com (Google)",
        STORAGE: "https://storage.googleapis.com (Google)",
        VERTEX: "https://aiplatform.googleapis.com (Google)",
        METADATA: "metadata.google.internal (Google)",
        DATAFLOW: "https://dataflow.googleapis.com (Google)",
    }
    assert not any(each.stand_in for each in found.values())


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("us-central1", "https://us-central1-aiplatform.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
        ("us", "https://aiplatform.us.rep.googleapis.com"),
    ],
)
def test_vertex_has_a_host_for_each_location(location, url):
    assert endpoints({}, location)[VERTEX].address == url


@pytest.mark.parametrize(
    ("variable", "value", "stand_in"),
    [
        ("PUBSUB_EMULATOR_HOST", "127.0.0.1:1", True),
        ("STORAGE_EMULATOR_HOST", "http://storage:9023", True),
        # Private endpoints and regions of Google's.
        ("STORAGE_EMULATOR_HOST", "https://storage-psc.p.googleapis.com", False),
        ("GOOGLE_VERTEX_BASE_URL", "https://europe-west4-aiplatform.googleapis.com", False),
        ("GCE_METADATA_HOST", "169.254.169.254", False),
        ("GCE_METADATA_HOST", "127.0.0.1:2", True),
    ],
)
def test_a_stand_in_is_asked_without_encryption(variable, value, stand_in):
    found = endpoints({variable: value}, "global").values()
    (given,) = (each for each in found if each.variable == variable)
    assert (given.address, given.overridden, given.stand_in) == (value, True, stand_in)
    for other in found:
        if other is not given:
            assert stand_ins_beside(other, found) == ([variable] if stand_in else [])
