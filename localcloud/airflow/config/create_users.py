"""Adds users to the FAB auth manager, all with one start of its application.

`airflow users create` adds one for each start, which takes seconds of CPU; `airflow users import`
leaves them without a password.

Arguments: a file of passwords by user name, as JSON; then USER:ROLE, as often as needed.
"""

import json
import sys
from pathlib import Path

from airflow.providers.fab.auth_manager.cli_commands.utils import (  # type: ignore[import-not-found]
    get_application_builder,
)


def main(passwords_file: str, *users: str) -> None:
    """Add the users that are missing, and give each its password.

    Raises:
        SystemExit: a role does not exist, or FAB refused a user.
    """
    passwords = json.loads(Path(passwords_file).read_text())
    with get_application_builder() as builder:
        manager = builder.sm
        for name, _, role_name in (user.partition(":") for user in users):
            if known := manager.find_user(name):
                manager.reset_password(known.id, passwords[name])
                continue
            role = manager.find_role(role_name)
            if role is None:
                raise SystemExit(
                    f"FAB has no role {role_name!r}, which the user {name!r} is to have"
                )
            address = f"{name}@example.com"
            if not manager.add_user(name, name, role_name, address, role, passwords[name]):
                raise SystemExit(f"FAB did not add the user {name!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
