"""Custom functions to start from: translate and enrich each prompt, and store images as WebP.

    --preprocess=custom.example:prepare --postprocess=custom.example:compress

Set what differs in the environment of the image (ENV in beam_jobs/Dockerfile). The workers' account
needs roles/cloudtranslate.user.
"""

import dataclasses
import functools
import io
import os
import re

import google.auth
from google.auth.transport.requests import AuthorizedSession
from PIL import Image

from beam_jobs.custom.function import Refusal
from beam_jobs.prompts.parse import Prompt

# Change it whenever a function makes something else than before.
VERSION = "1"

STYLE = "Soft daylight, muted colors."
# A house rule, for what the model itself would draw.
REFUSED = re.compile(r"\b(acme|initech)\b", re.IGNORECASE)
HOST = os.environ.get("CUSTOM_TRANSLATE_HOST", "https://translation.googleapis.com")
# Less than the 60 s after which the job gives a call up.
TIMEOUT_S = 10.0
QUALITY = 85


def prepare(prompt: Prompt) -> Prompt | Refusal:
    """Return the prompt in English and in the house style, or refuse it.

    A message says its language in the attribute `language`; without one, it is English.
    """
    text = prompt.text
    if language := prompt.attributes.get("language"):
        text = _english(text, language)
    if match := REFUSED.search(text):
        return Refusal(f"names a competitor, {match[0]}")
    return dataclasses.replace(prompt, text=f"{text}\n{STYLE}")


def compress(image: bytes) -> bytes:
    """Return an image as WebP."""
    small = io.BytesIO()
    with Image.open(io.BytesIO(image)) as opened:
        opened.save(small, "WEBP", quality=QUALITY)
    return small.getvalue()


def _english(text: str, language: str) -> str:
    """Translate a text. https://cloud.google.com/translate/docs/reference/rest/v3/projects."""
    session, project = _session()
    answer = session.post(
        f"{HOST}/v3/projects/{project}:translateText",
        json={
            "contents": [text],
            "mimeType": "text/plain",
            "sourceLanguageCode": language,
            "targetLanguageCode": "en",
        },
        timeout=TIMEOUT_S,
    )
    answer.raise_for_status()
    return str(answer.json()["translations"][0]["translatedText"])


@functools.cache
def _session() -> tuple[AuthorizedSession, str]:
    credentials, project = google.auth.default(
        scopes=["https://www.googleapis.com/auth/cloud-platform"]
    )
    return AuthorizedSession(credentials), project or ""
