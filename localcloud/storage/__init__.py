"""Cloud Storage on one machine: its JSON API over a folder.

`ObjectStore` stores the objects, and `storage_app` serves the API. Clients find it through
`STORAGE_EMULATOR_HOST=http://127.0.0.1:PORT`.
"""

from localcloud.storage.app import Faults, storage_app
from localcloud.storage.errors import StorageError
from localcloud.storage.store import ObjectStore

__all__ = ["Faults", "ObjectStore", "StorageError", "storage_app"]
