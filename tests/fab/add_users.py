"""Adds FAB's roles, some of one's own, and a user of each. The argument is their password."""

import json
import sys

from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

DAGS = (
    "imagen_backfill",
    "imagen_dead_letters_replay",
    "imagen_stream_drain",
    "imagen_stream_health",
    "imagen_stream_start",
)
# What whoever has DAGs of their own needs to see them, as Composer's role UserNoDags has it.
_BASIS = [
    ("can_read", "Website"),
    ("can_read", "DAG Runs"),
    ("can_read", "Task Instances"),
    ("can_read", "Task Logs"),
    ("can_read", "XComs"),
    ("menu_access", "DAGs"),
]
# docs/security.md has them with what they may.
OWN_ROLES = {
    "Imagen watcher": [*_BASIS, ("can_read", "Plugins"), ("can_read", "DAG:imagen_stream_health")],
    "Imagen operator": [
        *_BASIS,
        ("can_read", "Plugins"),
        ("can_create", "DAG Runs"),
        ("can_edit", "DAG Runs"),
        ("can_edit", "Task Instances"),
        ("can_read", "HITL Detail"),
        *((action, f"DAG:{dag}") for dag in DAGS for action in ("can_read", "can_edit")),
    ],
    "Another team": [*_BASIS, ("can_read", "DAG:not_of_this_project")],
}


def main() -> None:
    """Add them, and print their names."""
    with get_application_builder() as builder:
        manager = builder.sm
        manager.sync_roles()
        for name, permissions in OWN_ROLES.items():
            role = manager.add_role(name)
            for action, resource in permissions:
                permission = manager.create_permission(action, resource)
                manager.add_permission_to_role(role, permission)
        names = ["Public", "Viewer", "User", "Op", "Admin", *OWN_ROLES]
        for number, name in enumerate(names):
            role = manager.find_role(name)
            mail = f"{number}@example.org"
            assert manager.add_user(name, name, "L", mail, role, password=sys.argv[1]), name
    print(json.dumps(names))


if __name__ == "__main__":
    main()
