"""Alerts: the log lines, the notifier and the DAG callbacks that raise them."""
