"""What the caller may do in a bucket, as `buckets.testIamPermissions` says."""

import pytest
from google.api_core import exceptions

RIGHTS = ["storage.objects.create", "storage.objects.get"]


def test_the_caller_may_do_all_that_it_asks_about(bucket):
    assert bucket.test_iam_permissions(RIGHTS) == RIGHTS


def test_a_bucket_that_does_not_exist_is_not_found(client):
    with pytest.raises(exceptions.NotFound):
        client.bucket("no-such-bucket").test_iam_permissions(RIGHTS)
