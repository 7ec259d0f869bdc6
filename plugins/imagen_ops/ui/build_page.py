"""Builds the page's app with all that it needs; what it imports is imported when it is called."""

import threading

from imagen_ops.ui.lazy import Asgi


def build_page() -> Asgi:
    """Return the page's app, with all that it needs."""
    from imagen_ops.ui.app import build
    from imagen_ops.ui.storage import Storage

    storage = Storage()
    # Google's clients take longer to import than a browser takes to load the page.
    threading.Thread(target=storage.warm_up, name="imagen-ui-warm-up", daemon=True).start()
    return build(storage)
