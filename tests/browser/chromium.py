"""Finds or fetches a Chromium for the browser tests. As a script it prints the choice, or why there is none."""

import functools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Error, sync_playwright

PLAYWRIGHTS_OWN = "playwright"
INSTALLED = (
    "chromium-headless-shell",  # first: the same results as the others in a third of the time
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
DOWNLOAD_SECONDS = 60
PACKAGE_SECONDS = 300
# The last choice, in the virtual environment: a download that failed is not tried again at every run.
REMEMBERED = Path(sys.prefix) / "chromium"


class NoChromium(Exception):
    """There is none; the message is a sentence for the person who runs the tests."""


@functools.cache
def ensure() -> str | None:
    """Return the path of a browser that was seen to start, or None for the one Playwright brings itself.

    Call it before a Playwright of your own is started: it starts one to try the browser.

    Raises:
        NoChromium: none is installed and none could be installed.
    """
    choice = _remembered() or _own() or _downloaded() or _installed() or _packaged()
    if choice is None:
        raise NoChromium(
            "No Chromium could be had: Playwright's download failed and none is installed. Install Chromium or "
            "Google Chrome and try again; `make unit` runs the tests that need no browser."
        )
    REMEMBERED.write_text(choice)
    return None if choice == PLAYWRIGHTS_OWN else choice


def launch_options() -> dict[str, Any]:
    """What `chromium.launch` needs to start that browser."""
    return _options(ensure() or PLAYWRIGHTS_OWN)


def _remembered() -> str | None:
    return REMEMBERED.read_text() if REMEMBERED.exists() and _starts(REMEMBERED.read_text()) else None


def _own() -> str | None:
    return PLAYWRIGHTS_OWN if _starts(PLAYWRIGHTS_OWN) else None


def _downloaded() -> str | None:
    command = [sys.executable, "-m", "playwright", "install", "--only-shell", "chromium"]
    return _own() if _succeeds(command, within=DOWNLOAD_SECONDS) else None


def _installed() -> str | None:
    paths = filter(None, map(shutil.which, INSTALLED))
    return next((path for path in paths if _starts(path)), None)


def _packaged() -> str | None:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return None
    install = ["apt-get", "install", "-qq", "--no-install-recommends", "chromium-headless-shell"]
    for command in (["apt-get", "update", "-qq"], install):
        _succeeds(command, within=PACKAGE_SECONDS)
    return _installed()


def _starts(choice: str) -> bool:
    try:
        with sync_playwright() as playwright:
            playwright.chromium.launch(**_options(choice)).close()
    except Error:
        return False
    return True


def _options(choice: str) -> dict[str, Any]:
    path = {} if choice == PLAYWRIGHTS_OWN else {"executable_path": choice}
    # Chromium's sandbox refuses root; for everybody else it stays on.
    return {**path, "args": ["--no-sandbox"] if os.geteuid() == 0 else []}


def _succeeds(command: list[str], *, within: int) -> bool:
    """Run quietly; what is not done after `within` seconds is stopped with all its children."""
    print(f"Trying {' '.join(command)} …", file=sys.stderr)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
    try:
        return process.wait(timeout=within) == 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False


if __name__ == "__main__":
    try:
        print(f"Chromium: {ensure() or 'the one Playwright brings'}")
    except NoChromium as refusal:
        sys.exit(str(refusal))
