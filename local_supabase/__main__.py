"""python -m local_supabase: run the stack alone, run a command beside it, or delete what it keeps."""

import argparse
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from local_supabase import supervisor
from local_supabase.installation import DEMO_EMAIL
from local_supabase.postgres import CannotStart
from local_supabase.stack import HOST, PORT, STATE, Stack, reset, start

TICK_SECONDS = 0.1


def main() -> int:
    options = _options()
    try:
        return ACTIONS[options.action](options)
    except CannotStart as refusal:
        print(refusal, file=sys.stderr)
        return 1


def _serve(options: argparse.Namespace) -> int:
    """Print the settings as KEY=value and stay until Ctrl-C or SIGTERM."""
    ended = _watch_for_the_end(die_with_parent=False)
    with start(
        options.state,
        port=PORT if options.port is None else options.port,
        demo=True,
        database_url=os.environ.get("DATABASE_URL"),
    ) as stack:
        for name, value in stack.environment().items():
            print(f"{name}={value}")
        print(flush=True)
        while (code := ended()) is None:
            time.sleep(TICK_SECONDS)
        return code


def _run(options: argparse.Namespace) -> int:
    """Run a command with the stack's settings in its environment; the first of the two to end ends both."""
    ended = _watch_for_the_end(die_with_parent=options.die_with_parent)
    if not shutil.which(options.command[0]):
        raise CannotStart(f"There is no command {options.command[0]}.")
    if options.public_url and _accepts(options.public_url):
        port = urlsplit(options.public_url).port
        raise CannotStart(f"Port {port} is taken by another program. Choose a free one, as in: make run PORT=5001")
    with start(
        options.state,
        port=_free_port() if options.port is None else options.port,
        site_url=options.public_url,
        demo=True,
        database_url=os.environ.get("DATABASE_URL"),
    ) as stack:
        settings = stack.environment() | ({"PUBLIC_URL": options.public_url} if options.public_url else {})
        command = supervisor.start(
            options.command,
            stop_signal=signal.SIGTERM,
            whole_group=True,
            environment={**os.environ, **settings},
        )
        try:
            announced = not options.public_url
            while command.poll() is None and ended() is None:
                if not announced and _accepts(options.public_url):
                    announced = True
                    _announce(stack, options)
                time.sleep(TICK_SECONDS)
        finally:
            own_code = supervisor.stop(command)
        return ended() or own_code


def _reset(options: argparse.Namespace) -> int:
    reset(options.state)
    return 0


ACTIONS: dict[str | None, Callable[[argparse.Namespace], int]] = {None: _serve, "run": _run, "reset": _reset}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local_supabase", description=__doc__)
    parser.add_argument("--state", type=Path, default=STATE, help="folder for data and keys (default: .local)")
    parser.add_argument("--port", type=int, help=f"default: {PORT}; 0 takes a free one")
    actions = parser.add_subparsers(dest="action")
    run = actions.add_parser("run", help="run a command with the stack's settings in its environment")
    run.add_argument("--die-with-parent", action="store_true", help="end when the calling process does")
    run.add_argument("--public-url", metavar="URL", help="where the command serves the app; given to it, too")
    run.add_argument("--hint", default="", help="printed once the app answers")
    run.add_argument("command", nargs="+")
    actions.add_parser("reset", help="delete the data and the keys")
    return parser.parse_args()


def _watch_for_the_end(*, die_with_parent: bool) -> Callable[[], int | None]:
    """Return a function that tells the exit code once something asked us to end, and None until then.

    Signals are noted, not raised: an exception in the middle of a start or a stop would leave half of it.
    """
    noted: list[int] = []
    parent = os.getppid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: noted.append(number))

    def ended() -> int | None:
        if noted:
            return 128 + noted[0]
        # `kill -9` of make tells nobody; but then this process is handed to another parent.
        return 1 if die_with_parent and os.getppid() != parent else None

    return ended


def _free_port() -> int:
    """The usual port, or any where another project's Supabase has that one: the command is told the real one."""
    return 0 if _accepts(f"http://{HOST}:{PORT}") else PORT


def _accepts(url: str) -> bool:
    """Whether somebody listens at the URL's host and port, by any of the host's addresses."""
    address = urlsplit(url)
    try:
        # Connecting finds more than binding: where macOS has AirPlay on port 5000, binding 127.0.0.1 works.
        socket.create_connection((address.hostname or HOST, address.port or 80), timeout=1).close()
    except OSError:
        return False
    return True


def _announce(stack: Stack, options: argparse.Namespace) -> None:
    print(
        f"\n  App            {options.public_url}"
        f"\n  Demo account   {DEMO_EMAIL}, password {stack.installation.demo_password}"
        f"\n  Mails          {stack.mailbox_url}"
        f"\n\n  {options.hint}\n  Ctrl-C stops everything. Data stay in {options.state.name}/.\n",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
