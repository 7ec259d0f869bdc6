"""What a Gemini model is asked for one image of a prompt: the body of the call. Pure.

Calls and the requests of batch inference are made of it, so that both ask for the same.
"""

from beam_jobs.prompts.parse import Prompt


def request_of(prompt: Prompt, index: int) -> dict[str, object]:
    """Return the body of a `:generateContent` call for one image of `prompt`.

    https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference

    Args:
        prompt: the prompt. Its references have been looked up.
        index: of the image among the prompt's images, from 0.
    """
    output = _given(
        mimeType=prompt.output_format and f"image/{prompt.output_format}",
        compressionQuality=prompt.output_quality,
    )
    config: dict[str, object] = {
        "responseModalities": ["IMAGE"],
        "imageConfig": _given(
            aspectRatio=prompt.aspect_ratio,
            imageSize=prompt.image_size,
            personGeneration=prompt.person_generation,
            imageOutputOptions=output or None,
        ),
    }
    if prompt.thinking_level is not None:
        config["thinkingConfig"] = {"thinkingLevel": prompt.thinking_level.upper()}
    if prompt.seed is not None:
        # With the same seed, all images of a prompt would be the same.
        config["seed"] = (prompt.seed + index) % (2**31)
    parts: list[dict[str, object]] = []
    for reference in prompt.references:
        if reference.role:
            parts.append({"text": reference.role})
        # The model reads it from Cloud Storage, so it is in no memory here.
        parts.append({"fileData": _given(fileUri=reference.path, mimeType=reference.mime_type)})
    contents = [{"role": "user", "parts": [*parts, {"text": prompt.text}]}]
    request: dict[str, object] = {"contents": contents, "generationConfig": config}
    if prompt.system_instruction is not None:
        request["systemInstruction"] = {"parts": [{"text": prompt.system_instruction}]}
    return request


def _given(**fields: object) -> dict[str, object]:
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}
