#!/usr/bin/env bash
# google-cloud-pubsub 2.44.0: publish() takes attributes as keyword arguments, so some names can't be used.
#
# Pub/Sub allows any attribute name that doesn't start with `goog`. The signature is
# publish(topic, data, ordering_key="", retry=…, timeout=…, **attrs).
#
# Seen: an attribute named `topic` or `data` raises a TypeError. One named `ordering_key` is taken
# for the message's ordering key. In a batch pipeline, WriteToPubSub of apache-beam 2.77.0 passes
# attributes in the same way.
#
# Why it matters: attributes often come from elsewhere, and a message that was received can't be
# passed on.
#
# Instead: send a PublishRequest with the client of google.pubsub_v1, or reject these names where
# messages come in.
. "$(dirname "$0")/lib.sh"
packages "google-cloud-pubsub==${1:-2.44.0}"

PUBSUB_EMULATOR_HOST=127.0.0.1:9 python - <<'PY'
from google.cloud import pubsub_v1
from google.pubsub_v1.types import PublishRequest, PubsubMessage

TOPIC = "projects/demo-project/topics/prompts"
publisher = pubsub_v1.PublisherClient()
seen = {}
for name in ("topic", "data", "ordering_key"):
    message = PubsubMessage(data=b"a fox", attributes={name: "x"})
    PublishRequest(topic=TOPIC, messages=[message])  # accepts any name
    try:
        publisher.publish(TOPIC, message.data, **message.attributes)
    except (TypeError, ValueError) as error:
        seen[name] = f"{type(error).__name__}: {error}"
    else:
        raise SystemExit(f"Changed: an attribute named {name} is accepted.")
for name, error in seen.items():
    print(f"Still so: {name}: {error}")
PY
