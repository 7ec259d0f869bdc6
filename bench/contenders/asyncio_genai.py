"""Without Beam: one asyncio loop with google-genai that writes images into a folder."""

import asyncio
import hashlib
from collections.abc import Iterator

from google import genai
from google.genai import types

from bench.contenders.arguments import MODEL, Task, parse_task


async def work(client: genai.Client, prompts: Iterator[str], task: Task) -> None:
    config = types.GenerateContentConfig(response_modalities=["IMAGE"])
    for prompt in prompts:
        answer = await client.aio.models.generate_content(
            model=MODEL, contents=prompt, config=config
        )
        data = answer.candidates[0].content.parts[0].inline_data.data  # type: ignore[index, union-attr]
        name = hashlib.sha256(prompt.encode()).hexdigest()
        await asyncio.to_thread((task.folder / f"{name}.png").write_bytes, data or b"")


async def main() -> None:
    task = parse_task(__doc__)
    client = genai.Client(vertexai=True, project="demo-project", location="global")
    prompts = iter(task.prompts)
    await asyncio.gather(*(work(client, prompts, task) for _ in range(task.in_flight)))


if __name__ == "__main__":
    asyncio.run(main())
