"""Beam's RemoteModelHandler with a rate limiter: it asks a service before each call.

Beam has one rate limiter, for Envoy's rate limit service. Here the service is in a thread of the
same process, knows no limit, and answers at once: what is measured is the asking.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apache_beam as beam
import grpc
from apache_beam.io.components import rate_limit_pb2
from apache_beam.io.components.rate_limiter import EnvoyRateLimiter
from apache_beam.ml.inference.base import PredictionResult, RemoteModelHandler, RunInference
from google import genai
from google.genai import types

from bench.contenders.arguments import MODEL, THREADS, parse_task
from bench.contenders.one_by_one import Save, options

SERVICE, METHOD = "envoy.service.ratelimit.v3.RateLimitService", "ShouldRateLimit"


class Handler(RemoteModelHandler[str, PredictionResult, genai.Client]):
    def create_client(self) -> genai.Client:
        return genai.Client(vertexai=True, project="demo-project", location="global")

    def request(
        self,
        batch: Sequence[str],
        model: genai.Client,
        inference_args: dict[str, Any] | None = None,
    ) -> list[PredictionResult]:
        config = types.GenerateContentConfig(response_modalities=["IMAGE"])
        return [
            PredictionResult(
                prompt,
                model.models.generate_content(model=MODEL, contents=prompt, config=config),
            )
            for prompt in batch
        ]

    def batch_elements_kwargs(self) -> dict[str, int]:
        # A batch whose last call fails is called again as a whole.
        return {"min_batch_size": 1, "max_batch_size": 1}


def always_allowed() -> grpc.Server:
    """Return a rate limit service that has started, with its port as `port`."""

    def allow(request: Any, context: grpc.ServicerContext) -> Any:
        return rate_limit_pb2.RateLimitResponse(overall_code=rate_limit_pb2.RateLimitResponse.OK)

    method = grpc.unary_unary_rpc_method_handler(
        allow,
        request_deserializer=rate_limit_pb2.RateLimitRequest.FromString,
        response_serializer=rate_limit_pb2.RateLimitResponse.SerializeToString,
    )
    server = grpc.server(ThreadPoolExecutor(THREADS))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {METHOD: method}),)
    )
    server.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server


def main() -> None:
    task = parse_task(__doc__)
    server = always_allowed()
    # Without a namespace, Beam's own counter refuses to be made.
    limiter = EnvoyRateLimiter(
        f"127.0.0.1:{server.port}", "bench", [{"model": MODEL}], namespace="bench"
    )
    handler = Handler(namespace="bench", rate_limiter=limiter)
    with beam.Pipeline(options=options()) as pipeline:
        prompts = pipeline | beam.Create(task.prompts) | beam.Reshuffle()
        _ = prompts | RunInference(handler) | beam.ParDo(Save(task.folder))
    server.stop(None)


if __name__ == "__main__":
    main()
