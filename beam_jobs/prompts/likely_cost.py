"""What a prompt is likely to cost before a model has answered: for plans, and for budgets of money.

The tokens of a picture are known, and nearly all of the cost. Those of the text are estimated from
its length, and those of thinking are the catalog's allowance for the level.
"""

import math

from beam_jobs.catalog import CATALOG
from beam_jobs.prompts.parse import Prompt

# https://ai.google.dev/gemini-api/docs/tokens: about four characters of English. In UTF-8, that
# is about right for other scripts too, whose characters are longer and have more tokens.
_BYTES_PER_TOKEN = 4
# "Default resolution tokens" of Gemini 3 models:
# https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/image-understanding
_TOKENS_PER_REFERENCE = 1_120


def text_tokens(prompt: Prompt) -> int:
    """Return roughly how many tokens the texts and the references of a prompt have."""
    texts = (prompt.text, prompt.system_instruction or "")
    of_texts = sum(len(text.encode("utf-8", "replace")) for text in texts) / _BYTES_PER_TOKEN
    return math.ceil(of_texts) + _TOKENS_PER_REFERENCE * len(prompt.references)


def likely_micro_usd(prompt: Prompt, tier: str, *, images: int) -> int | None:
    """Return what images of a prompt are likely to cost, in millionths of a US dollar.

    Args:
        prompt: the prompt.
        tier: of the calls, or `catalog.BATCH_TIER`.
        images: how many, each with a call of its own.

    Returns:
        The amount, rounded up; None for a model without a known price.
    """
    row = CATALOG.get(prompt.model)
    if row is None:
        return None
    usd = row.usd_per_call(
        prompt.image_size,
        tier,
        input_tokens=text_tokens(prompt),
        thinking_level=prompt.thinking_level,
    )
    return None if usd is None else math.ceil(usd * images * 1e6)
