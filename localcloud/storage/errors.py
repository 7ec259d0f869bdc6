"""What the service says when it refuses, with the words and reasons that clients look for.

Wordings are Cloud Storage's own: client libraries and their users match on them. See
https://cloud.google.com/storage/docs/json_api/v1/status-codes.
"""

from typing import Any

_TROUBLES = {
    401: ("authError", "Invalid Credentials"),
    403: ("forbidden", "The caller does not have the permission that this takes."),
    404: ("notFound", "Not Found"),
    429: ("rateLimitExceeded", "The rate of requests is above its limit. Please try again later."),
    500: ("backendError", "We encountered an internal error. Please try again."),
    503: ("backendError", "The service is currently unavailable. Please try again."),
}


class StorageError(Exception):
    """A refusal: HTTP `status`, machine-readable `reason`, and a `message` for the reader."""

    def __init__(self, status: int, reason: str, message: str, location: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.location = location

    def body(self) -> dict[str, Any]:
        """The JSON error body of Google's APIs."""
        detail = {"message": self.message, "domain": "global", "reason": self.reason}
        if self.location is not None:
            detail |= {"locationType": "header", "location": self.location}
        return {"error": {"code": self.status, "message": self.message, "errors": [detail]}}


class NotModifiedError(StorageError):
    """A read whose ...NotMatch condition says that the reader has this version already: 304."""

    def __init__(self) -> None:
        super().__init__(304, "notModified", "Not Modified")


def invalid(message: str) -> StorageError:
    """400: the request makes no sense as given."""
    return StorageError(400, "invalid", message)


def required(what: str) -> StorageError:
    """400: something has to be given."""
    return StorageError(400, "required", f"Required parameter: {what}")


def no_such_bucket() -> StorageError:
    """404 for anything in a bucket that does not exist."""
    return StorageError(404, "notFound", "The specified bucket does not exist.")


def no_such_object(bucket: str, name: str) -> StorageError:
    """404 for an object, or for a generation of it that is not the live one."""
    return StorageError(404, "notFound", f"No such object: {bucket}/{name}")


def no_such_upload() -> StorageError:
    """404 for a resumable session that never was, was cancelled, or is over a week old."""
    return StorageError(404, "notFound", "Upload session not found. Start a new upload.")


def no_such_method(method: str, path: str) -> StorageError:
    """404 for what the API has not, or this stand-in does not do."""
    return StorageError(404, "notFound", f"localcloud storage does not answer {method} {path}")


def bucket_exists() -> StorageError:
    """409 on creating a bucket twice."""
    message = "Your previous request to create the named bucket succeeded and you already own it."
    return StorageError(409, "conflict", message)


def bucket_not_empty() -> StorageError:
    """409 on deleting a bucket that has objects."""
    return StorageError(409, "conflict", "The bucket you tried to delete is not empty.")


def condition_not_met(location: str) -> StorageError:
    """412; `location` is the header that the failed condition is the equivalent of."""
    message = "At least one of the pre-conditions you specified did not hold."
    return StorageError(412, "conditionNotMet", message, location)


def on_demand(status: int) -> StorageError:
    """An error of the service's own, asked for by a test."""
    reason, message = _TROUBLES.get(status, ("backendError", "Backend Error"))
    return StorageError(status, reason, message)


def state_folder_fails(error: Exception) -> StorageError:
    """503: nothing was changed, and nothing can be until the disk under the state is well again."""
    return StorageError(503, "backendError", f"localcloud's state folder fails: {error}")


def checksum_mismatch(kind: str, given: str, actual: str) -> StorageError:
    """400: the bytes that came are not the bytes that the client says it sent."""
    return invalid(f'Provided {kind} "{given}" doesn\'t match calculated {kind} "{actual}".')
