"""The errors of the service.

Messages and reasons are Cloud Storage's own, because client libraries and their users match on
them: https://cloud.google.com/storage/docs/json_api/v1/status-codes.
"""

from typing import Any

_INJECTED = {
    401: ("authError", "Invalid Credentials"),
    403: ("forbidden", "The caller does not have the permission that this takes."),
    404: ("notFound", "Not Found"),
    429: ("rateLimitExceeded", "The rate of requests is above its limit. Please try again later."),
    500: ("backendError", "We encountered an internal error. Please try again."),
    503: ("backendError", "The service is currently unavailable. Please try again."),
}


class StorageError(Exception):
    """An error response.

    Args:
        status: the HTTP status.
        reason: the machine-readable reason.
        message: for the reader.
        location: the header that the error is about, if any.
    """

    def __init__(self, status: int, reason: str, message: str, location: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.location = location

    def body(self) -> dict[str, Any]:
        """Return the JSON body in the format of Google's APIs."""
        detail = {"message": self.message, "domain": "global", "reason": self.reason}
        if self.location is not None:
            detail |= {"locationType": "header", "location": self.location}
        return {"error": {"code": self.status, "message": self.message, "errors": [detail]}}


class NotModifiedError(StorageError):
    """304: a read's NotMatch condition says that the client already has this version."""

    def __init__(self) -> None:
        super().__init__(304, "notModified", "Not Modified")


def invalid(message: str) -> StorageError:
    """400: the request is invalid."""
    return StorageError(400, "invalid", message)


def required(what: str) -> StorageError:
    """400: a required parameter is missing."""
    return StorageError(400, "required", f"Required parameter: {what}")


def no_such_bucket() -> StorageError:
    """404: the bucket does not exist."""
    return StorageError(404, "notFound", "The specified bucket does not exist.")


def no_such_object(bucket: str, name: str) -> StorageError:
    """404: the object does not exist, or the generation is not the live one."""
    return StorageError(404, "notFound", f"No such object: {bucket}/{name}")


def no_such_upload() -> StorageError:
    """404: the resumable session never existed, was cancelled, or is over a week old."""
    return StorageError(404, "notFound", "Upload session not found. Start a new upload.")


def no_such_method(method: str, path: str) -> StorageError:
    """404: the API has no such method, or this stand-in does not implement it."""
    return StorageError(404, "notFound", f"localcloud storage does not answer {method} {path}")


def bucket_exists() -> StorageError:
    """409: the bucket exists already."""
    message = "Your previous request to create the named bucket succeeded and you already own it."
    return StorageError(409, "conflict", message)


def bucket_not_empty() -> StorageError:
    """409: a bucket with objects cannot be deleted."""
    return StorageError(409, "conflict", "The bucket you tried to delete is not empty.")


def condition_not_met(location: str) -> StorageError:
    """412: a precondition failed; `location` is the equivalent HTTP header."""
    message = "At least one of the pre-conditions you specified did not hold."
    return StorageError(412, "conditionNotMet", message, location)


def policy_violated() -> StorageError:
    """412: a policy of the organization forbids the write; the condition itself holds."""
    return StorageError(
        412,
        "orgPolicyConstraintFailed",
        "Request violates constraint 'constraints/gcp.restrictCmekCryptoKeyProjects'",
    )


def key_disabled() -> StorageError:
    """400: the key that encrypts the bucket's new objects is disabled."""
    return StorageError(
        400,
        "cloudKmsDisabledKey",
        "The Cloud KMS key is disabled, destroyed, or scheduled to be destroyed.",
    )


def on_demand(status: int) -> StorageError:
    """Return an injected error of the service."""
    reason, message = _INJECTED.get(status, ("backendError", "Backend Error"))
    return StorageError(status, reason, message)


def state_folder_fails(error: Exception) -> StorageError:
    """503: nothing was changed, and nothing can be changed until the disk works again."""
    return StorageError(503, "backendError", f"localcloud's state folder fails: {error}")


def checksum_mismatch(kind: str, expected: str, actual: str) -> StorageError:
    """400: the received bytes do not match the checksum that the client sent."""
    return invalid(f'Provided {kind} "{expected}" doesn\'t match calculated {kind} "{actual}".')
