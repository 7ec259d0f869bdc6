"""`erase`: what the bucket holds of a prompt, or of a sender."""

import argparse

from beam_jobs.cli.commands import AddCommand, add_location, images_url
from beam_jobs.cli.commands.publish import attribute
from beam_jobs.images.location import Location


def add_to(add: AddCommand) -> None:
    """Add the command."""
    command = add(
        "erase",
        _run,
        help="delete what the bucket holds of a prompt or of a sender; without --yes, only look",
        examples="--prompt-id order-17\n--attribute tenant=acme --yes",
    )
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--prompt-id", "--prompt_id", metavar="ID", help="the id that its sender gave, or ~DIGEST"
    )
    what.add_argument("--digest", help="32 hexadecimal digits, as in the names of its images")
    what.add_argument(
        "--attribute", metavar="NAME=VALUE", help="of the messages, such as tenant=acme"
    )
    add_location(command)
    command.add_argument("--yes", action="store_true", help="delete it; this cannot be undone")


def _run(arguments: argparse.Namespace) -> int:
    from beam_jobs.cli.asking import asking_storage
    from beam_jobs.cli.erase import Wanted, find, out_of_reach

    wanted = Wanted(
        prompt_id=arguments.prompt_id,
        digest=arguments.digest,
        attribute=attribute(arguments.attribute) if arguments.attribute else None,
    )
    location = Location.parse(images_url(arguments))
    with asking_storage("roles/storage.objectAdmin"):
        traces = find(wanted, location, arguments.project)
        for line in traces.lines():
            print(line)
        if not traces:
            print("nothing was found, so that nothing is to be erased")
        elif arguments.yes:
            traces.erase()
            print("erased")
        else:
            print("nothing was erased: pass --yes to do it")
        print("\nout of reach:")
        for line in out_of_reach(wanted, location, arguments.project):
            print(f"- {line}")
    return 0
