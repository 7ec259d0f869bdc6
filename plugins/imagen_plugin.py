"""What Airflow's web server has to know of `imagen_ops`: the links of its tasks, and its page."""

from airflow.plugins_manager import AirflowPlugin

from imagen_ops.jobs.links import JOB_LINKS
from imagen_ops.ui.build_page import build_page
from imagen_ops.ui.lazy import LazyApp

_PAGE = LazyApp(build_page)


class ImagenPlugin(AirflowPlugin):
    """Registers the links to Dataflow, and the page with its place in the menu."""

    name = "imagen"
    operator_extra_links = list(JOB_LINKS)  # noqa: RUF012 - declared so by Airflow
    fastapi_apps = [  # noqa: RUF012
        {"app": _PAGE, "url_prefix": "/imagen", "name": "Imagen"}
    ]
    # None that any request passes through: it is how Airflow says that it serves.
    fastapi_root_middlewares = [  # noqa: RUF012
        {"middleware": _PAGE.begin, "name": "Imagen begins"}
    ]
    external_views = [  # noqa: RUF012
        {
            "name": "Imagen",
            # Relative: Airflow may be served under a path. With its slash, or it is Airflow's own.
            "href": "imagen/",
            "url_route": "imagen",
            "destination": "nav",
            "nav_top_level": True,
            "icon": "imagen/assets/icon.svg",
        }
    ]
