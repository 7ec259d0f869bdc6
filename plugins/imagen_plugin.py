"""What Airflow's web server needs from `imagen_ops`: the links on its tasks, and its page."""

from airflow.plugins_manager import AirflowPlugin

from imagen_ops.jobs.links import BATCH_LINKS, JOB_LINKS
from imagen_ops.ui.build_page import build_page
from imagen_ops.ui.lazy import LazyApp

_PAGE = LazyApp(build_page)


class ImagenPlugin(AirflowPlugin):
    """Registers the links to Dataflow, the page and its menu entry."""

    name = "imagen"
    operator_extra_links = [*JOB_LINKS, *BATCH_LINKS]  # noqa: RUF012 - Airflow declares it this way
    fastapi_apps = [  # noqa: RUF012
        {"app": _PAGE, "url_prefix": "/imagen", "name": "Imagen"}
    ]
    # Not a real middleware, and no request passes through it. Airflow builds its middlewares when
    # it begins to serve, and that is when the page has to be built.
    fastapi_root_middlewares = [  # noqa: RUF012
        {"middleware": _PAGE.begin, "name": "Imagen start-up"}
    ]
    external_views = [  # noqa: RUF012
        {
            "name": "Imagen",
            # Relative, because Airflow may be served under a path. Without the trailing slash the
            # address would be the one of Airflow's own view.
            "href": "imagen/",
            "url_route": "imagen",
            "destination": "nav",
            "nav_top_level": True,
            "icon": "imagen/assets/icon.svg",
        }
    ]
