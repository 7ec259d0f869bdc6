"""Builds the page's app. Its imports wait until it is called: they are slow."""

import threading

from imagen_ops.ui.lazy import Asgi


def build_page() -> Asgi:
    """Build the page's app with its storage, and connect to storage in the background."""
    from imagen_ops.ui.app import build
    from imagen_ops.ui.storage import Storage

    storage = Storage()
    # Importing Google's clients takes longer than a browser takes to load the page.
    threading.Thread(target=storage.warm_up, name="imagen-ui-warm-up", daemon=True).start()
    return build(storage)
