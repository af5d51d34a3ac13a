"""One embedded Supabase for the whole run, shown to every test by environment variables; and who lives in it."""

import contextlib
import os
from pathlib import Path

import pytest

import local_supabase
from local_supabase.postgres import CannotStart

LOGS = "LOCAL_SUPABASE_LOGS"  # the folder of the run's stack; workers inherit it with the rest
log_sizes = pytest.StashKey[dict[Path, int]]()


def pytest_configure(config: pytest.Config) -> None:
    """Start the stack in the controller of pytest-xdist, or in the only process; workers inherit its settings.

    With SUPABASE_URL and the keys in the environment the tests talk to that Supabase instead.
    """
    if hasattr(config, "workerinput") or os.environ.get("SUPABASE_URL") or config.option.collectonly:
        return
    undo = contextlib.ExitStack()
    try:
        stack = undo.enter_context(local_supabase.start(demo=True, database_url=os.environ.get("DATABASE_URL")))
    except CannotStart as refusal:
        raise pytest.UsageError(str(refusal)) from None
    os.environ.update(stack.environment() | {LOGS: str(stack.state)})
    config.add_cleanup(undo.close)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[log_sizes] = {log: log.stat().st_size for log in _logs()}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show with a failure what the stack logged since the test began (other workers' lines may be among them)."""
    report = yield
    if report.failed:
        for log, size in item.stash.get(log_sizes, {}).items():
            report.sections.append((log.name, log.read_bytes()[size:].decode(errors="replace")))
    return report


def _logs() -> list[Path]:
    return sorted(Path(os.environ[LOGS]).glob("*.log")) if LOGS in os.environ else []


# People and the app
