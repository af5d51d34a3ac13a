"""Keeps one command alive exactly as long as the process that started it.

The parent holds the other end of this process's stdin and never writes to it. When the parent ends, in
whatever way (`kill -9` included), the kernel closes that pipe, and the command is stopped. `atexit`, signal
handlers and PR_SET_PDEATHSIG all miss a case: SIGKILL, SIGTERM, or any system that is not Linux.

It runs as a script of its own (`python -I -S supervisor.py …`, standard library only), so it starts in 30 ms.
"""

import argparse
import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

# A command that has not lived this long is "failing to start"; after so much failing in a row it is given up.
HEALTHY_SECONDS = 1.0
GIVE_UP_SECONDS = 10.0
PATIENCE_SECONDS = 8.0  # between asking a command to stop and killing it


def start(
    command: list[str],
    *,
    stop_signal: signal.Signals,
    whole_group: bool = False,
    restart: bool = False,
    user: tuple[int, int] | None = None,
    remove: list[Path] | None = None,
    keep_open: list[int] | None = None,
    environment: dict[str, str] | None = None,
    output: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` under a supervisor and return the supervisor; close its stdin (or die) to stop both.

    `stop_signal` asks the command to end, `whole_group` asks its children too; what does not listen is killed
    after a few seconds. `restart` starts it again when it ends by itself. `user` is (uid, gid) to run it as.
    `remove` lists folders deleted after the end; `keep_open` lists descriptors (a lock) held until then.
    """
    options = [f"--stop-signal={int(stop_signal)}"]
    options += ["--whole-group"] if whole_group else []
    options += ["--restart"] if restart else []
    options += [f"--user={user[0]}:{user[1]}"] if user else []
    options += [f"--remove={folder}" for folder in remove or []]
    return subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, *options, "--", *command],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        env=environment,
        pass_fds=keep_open or [],
        # Out of the terminal's process group: Ctrl-C is for the launcher, which then stops things in order.
        start_new_session=True,
    )


def stop(supervisor: subprocess.Popen[bytes]) -> int:
    """Let the supervisor stop its command, wait for both, and return the command's exit code."""
    assert supervisor.stdin is not None
    supervisor.stdin.close()
    return supervisor.wait()


def main() -> int:
    options = _options()
    # From here on signals only wake the loop below; SIGTERM to the supervisor reads like the parent's death.
    wake, wakers_end = os.pipe()
    for end in (wake, wakers_end):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wakers_end, warn_on_full_buffer=False)
    asked_to_stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: asked_to_stop.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def parent_is_gone(*, within: float | None) -> bool:
        readable, _, _ = select.select([sys.stdin.fileno(), wake], [], [], within)
        if wake in readable:
            os.read(wake, 1024)
        return sys.stdin.fileno() in readable or bool(asked_to_stop)

    try:
        failing_since: float | None = None
        while True:
            started = time.monotonic()
            child = _spawn(options)
            while child.poll() is None:
                if parent_is_gone(within=None):
                    return _end(child, options)
            if not options.restart:
                return _end(child, options)
            failing_since = None if time.monotonic() - started > HEALTHY_SECONDS else failing_since or started
            if failing_since and time.monotonic() - failing_since > GIVE_UP_SECONDS:
                return child.returncode
            if parent_is_gone(within=0.1):
                return 0
    finally:
        for folder in options.remove:
            shutil.rmtree(folder, ignore_errors=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--stop-signal", type=int, required=True)
    parser.add_argument("--whole-group", action="store_true")
    parser.add_argument("--restart", action="store_true")
    parser.add_argument("--user", type=lambda text: tuple(map(int, text.split(":"))))
    parser.add_argument("--remove", action="append", default=[])
    parser.add_argument("command", nargs="+")
    return parser.parse_args()


def _spawn(options: argparse.Namespace) -> subprocess.Popen[bytes]:
    user, group = options.user or (None, None)
    return subprocess.Popen(
        options.command,
        stdin=subprocess.DEVNULL,
        user=user,
        group=group,
        extra_groups=[] if options.user else None,
        start_new_session=True,
    )


def _end(child: subprocess.Popen[bytes], options: argparse.Namespace) -> int:
    """Ask, then insist. Returns the command's code as a shell would (128 + signal)."""
    with contextlib.suppress(ProcessLookupError):
        if options.whole_group:
            os.killpg(child.pid, options.stop_signal)
        else:
            child.send_signal(options.stop_signal)
    try:
        child.wait(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
    if options.whole_group:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # what the command itself left behind
    code = child.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
