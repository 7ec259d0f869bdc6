"""What Airflow's web server has to know of `imagen_ops`: the links of its tasks."""

from airflow.plugins_manager import AirflowPlugin

from imagen_ops.links import JOB_LINKS


class ImagenPlugin(AirflowPlugin):
    """Registers the links to Dataflow."""

    name = "imagen"
    operator_extra_links = list(JOB_LINKS)  # noqa: RUF012 - declared so by Airflow
