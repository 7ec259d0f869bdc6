"""The names of a prefetch's objects in the bucket. Pure.

| object | name below `prefetch/RUN_LABEL/` |
|---|---|
| what was prepared: the parts, and what was left out | `parts.json` |
| what the run's tasks know of the batch jobs | `prefetch.json` |
| the report of the import | `import.json` |
| the requests of a part | `TRY/part-00000/requests.jsonl` |
| what is known of each request | `TRY/part-00000/manifest.jsonl` |
| what the part's batch job writes | `TRY/part-00000/output/…` |

Each try of preparing has a folder of its own, where nothing is ever overwritten. What counts are
the parts that `parts.json` names. So requests and manifest are always of the same try, whatever
retries and forgotten processes do side by side.
"""

import dataclasses
import re

from beam_jobs.names import PREFETCH_FOLDER

_URL = re.compile(r"gs://([^/]+)/(.+)/")


@dataclasses.dataclass(frozen=True, slots=True)
class PartFolder:
    """The objects of one part.

    Attributes:
        url: gs:// path of its folder, with a slash at its end.
    """

    url: str

    @property
    def requests(self) -> str:
        """The input of the part's batch job: a request on each line."""
        return f"{self.url}requests.jsonl"

    @property
    def manifest(self) -> str:
        """What is known of each request, in their order: a `ManifestRow` on each line."""
        return f"{self.url}manifest.jsonl"

    @property
    def output(self) -> str:
        """The prefix of what the batch job writes, with a slash at its end."""
        return f"{self.url}output/"


@dataclasses.dataclass(frozen=True, slots=True)
class PrefetchFolder:
    """The objects of one run's prefetch.

    Attributes:
        url: gs:// path of its folder, with a slash at its end.
    """

    url: str

    @classmethod
    def of(cls, bucket: str, run_label: str) -> "PrefetchFolder":
        """Return the folder of a run.

        Args:
            bucket: of the deployment, without `gs://`.
            run_label: names the run in labels and folders.
        """
        return cls(f"gs://{bucket}/{PREFETCH_FOLDER}/{run_label}/")

    @classmethod
    def parse(cls, url: str) -> "PrefetchFolder":
        """Return the folder that a gs:// path names.

        Raises:
            ValueError: it is not of the form `gs://BUCKET/FOLDER/`.
        """
        if not _URL.fullmatch(url):
            raise ValueError(f"expected gs://BUCKET/FOLDER/ with a slash at its end, got {url!r}")
        return cls(url)

    @property
    def bucket(self) -> str:
        """The bucket's name, without `gs://`."""
        return self.url.removeprefix("gs://").partition("/")[0]

    @property
    def prefix(self) -> str:
        """The folder's name in the bucket, with a slash at its end."""
        return self.url.removeprefix("gs://").partition("/")[2]

    @property
    def parts(self) -> str:
        """What was prepared, as `Prepared` reads it."""
        return f"{self.url}parts.json"

    @property
    def state(self) -> str:
        """What the run's tasks know of its batch jobs."""
        return f"{self.url}prefetch.json"

    @property
    def report(self) -> str:
        """The report of the import's job."""
        return f"{self.url}import.json"

    def part(self, of_try: str, number: int) -> PartFolder:
        """Return the folder of a part.

        Args:
            of_try: names the try that writes it.
            number: from 0.
        """
        return PartFolder(f"{self.url}{of_try}/part-{number:05d}/")
