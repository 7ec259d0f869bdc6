"""`watch`: predictions and dead letters as they arrive."""

import argparse
import contextlib

from beam_jobs import names
from beam_jobs.cli.commands import AddCommand


def add_to(add: AddCommand) -> None:
    """Add the command."""
    command = add(
        "watch",
        _run,
        help="show predictions and dead letters as they arrive",
        examples="--count 10\n--subscription predictions-sub",
    )
    command.add_argument("--count", type=int, help="stop after this many messages")
    command.add_argument("--seconds", type=float, help="stop after this many seconds")
    source = command.add_mutually_exclusive_group()
    outcomes = [names.PREDICTIONS_TOPIC, names.DEAD_LETTERS_TOPIC]
    source.add_argument(
        "--topics",
        nargs="+",
        default=outcomes,
        metavar="NAME",
        help=f"topics to watch, without taking messages from anyone; default: {' '.join(outcomes)}",
    )
    source.add_argument(
        "--subscription",
        metavar="NAME",
        help="show the messages of this subscription, and acknowledge each one once it is shown",
    )


def _run(arguments: argparse.Namespace) -> int:
    from beam_jobs.cli.asking import asking_pubsub

    named = arguments.subscription
    what = f"subscription {named} in {arguments.project}" if named else ""
    with asking_pubsub("roles/pubsub.editor", what=what):
        return _consume(arguments) if arguments.subscription else _watch(arguments)


def _watch(arguments: argparse.Namespace) -> int:
    from beam_jobs.cli.screen import Screen
    from beam_jobs.cli.watch import arrivals, watch_topics

    screen = Screen(arguments.count)
    with watch_topics(arguments.project, arguments.topics) as messages, screen.open():
        screen.say(f"watching {', '.join(arguments.topics)} in {arguments.project}")
        for message in arrivals(messages, count=arguments.count, seconds=arguments.seconds):
            screen.show(message)
    return 0


def _consume(arguments: argparse.Namespace) -> int:
    from beam_jobs.cli.screen import Screen
    from beam_jobs.cli.watch import consume

    screen, name = Screen(arguments.count), arguments.subscription
    screen.say(
        f"consuming {name} in {arguments.project}: each message is acknowledged once it is shown"
    )
    messages = consume(
        arguments.project,
        name,
        count=arguments.count,
        seconds=arguments.seconds,
        on_foreign_message=lambda message_id: screen.say(
            f"message {message_id} is neither a prediction nor a dead letter; it stays in {name}"
        ),
    )
    with contextlib.closing(messages), screen.open():
        for message in messages:
            screen.show(message)
    return 0
