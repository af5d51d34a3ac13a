"""Whom the contract is tested against: the Supabase that SUPABASE_URL names, else a throw-away stack without the app.

Everybody here is made for one test and removed after it. What needs more than the wire skips where it is not to be
had: reading mails needs MAILBOX_URL, ageing rows DATABASE_URL.
"""

import contextlib
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jwt
import psycopg
import pyotp
import pytest
from flask import Flask
from supabase import Client, ClientOptions, create_client

import local_supabase
from local_supabase import auth_api, installation
from local_supabase import database as local_database
from local_supabase.platform import Platform
from tests.settings import SETTINGS

API_VERSION = {"X-Supabase-Api-Version": "2024-01-01"}

# Does what the person's user_metadata says: one hook for every test, and parallel tests cannot disturb each other.
HOOK = """
create function public.contract_hook(event jsonb) returns jsonb language plpgsql as $$
declare
  claims jsonb := event -> 'claims';
begin
  case claims -> 'user_metadata' ->> 'hook'
    when 'raises' then raise exception 'refused by the hook';
    when 'sleeps' then perform pg_sleep(5);
    when 'null' then return null;
    when 'no claims' then return '{}';
    when 'no session_id' then return jsonb_build_object('claims', claims - 'session_id');
    when 'exp is text' then return jsonb_build_object('claims', claims || '{"exp": "tomorrow"}');
    when 'objects' then return '{"error": {"http_code": 403, "message": "not today"}}';
    when 'adds' then return jsonb_build_object('claims', claims || jsonb_build_object('extra', event - 'claims'));
    else null;
  end case;
  return jsonb_build_object('claims', claims);
end $$;
revoke execute on function public.contract_hook from public, anon, authenticated, service_role;
grant execute on function public.contract_hook to supabase_auth_admin;

-- Both attempt hooks: write down what they are told, and answer what the test has planted for the person.
create table public.contract_attempts (user_id uuid, event jsonb);
create table public.contract_verdicts (user_id uuid primary key, verdict jsonb);
grant insert on public.contract_attempts to supabase_auth_admin;
grant select on public.contract_verdicts to supabase_auth_admin;
create function public.contract_attempt_hook(event jsonb) returns jsonb language plpgsql as $$
declare
  answer jsonb := (select verdict from public.contract_verdicts where user_id = (event ->> 'user_id')::uuid);
begin
  insert into public.contract_attempts values ((event ->> 'user_id')::uuid, event);
  if answer ->> 'decision' = 'raise' then raise exception 'refused by the hook'; end if;
  return answer;
end $$;
grant execute on function public.contract_attempt_hook to supabase_auth_admin;
"""


@dataclass(frozen=True)
class Server:
    """A Supabase to test; `is_ours` is the throw-away stack, which has HOOK and can be made to misbehave."""

    url: str
    publishable_key: str
    secret_key: str
    database_url: str | None
    mailbox_url: str | None
    anon_key: str | None = None
    service_role_key: str | None = None
    is_ours: bool = False

    @classmethod
    def named_by(cls, environment: Mapping[str, str], **known: Any) -> "Server":
        return cls(
            url=environment["SUPABASE_URL"].rstrip("/"),
            publishable_key=environment["SUPABASE_PUBLISHABLE_KEY"],
            secret_key=environment["SUPABASE_SECRET_KEY"],
            database_url=environment.get("DATABASE_URL"),
            mailbox_url=environment.get("MAILBOX_URL"),
            anon_key=environment.get("SUPABASE_ANON_KEY"),
            service_role_key=environment.get("SUPABASE_SERVICE_ROLE_KEY"),
            **known,
        )

    def has_to_have(self, there: object, what: str) -> None:
        """End the test where this Supabase lacks something: as a failure, if it is ours, which has everything."""
        if there:
            return
        if self.is_ours:
            pytest.fail(f"our own stack lacks {what}")
        # Somebody else's may be tested with its address and keys alone: what those reach is still worth testing.
        pytest.skip(f"needs {what}")


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def refusal(self) -> tuple[int, str]:
        """Status and error code, in the form the client can read (statement 48)."""
        assert self.headers.get("X-Supabase-Api-Version") == "2024-01-01", "the client would lose the error code"
        assert isinstance(self.body["message"], str)
        return self.status, self.body["code"]


@dataclass(frozen=True)
class Wire:
    """HTTP as it is, without the client's opinions. Sends the publishable key unless told otherwise."""

    server: Server
    http: httpx.Client

    def __call__(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        http: httpx.Client | None = None,
        **options: Any,
    ) -> Answer:
        key = self.server.publishable_key
        sent = {"apikey": key, "Authorization": f"Bearer {token or key}", **API_VERSION, **(headers or {})}
        response = (http or self.http).request(
            method, f"{self.server.url}/auth/v1{path}", json=json, headers=sent, **options
        )
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        return Answer(response.status_code, response.json() if is_json else response.text, response.headers)

    def as_admin(self, method: str, path: str, json: Any = None) -> Answer:
        key = self.server.secret_key
        return self(method, path, json, token=key, headers={"apikey": key})


@dataclass
class Device:
    """A client that holds the tokens of one session, as an app on one phone does."""

    wire: Wire
    guards: "Guards"
    tokens: dict[str, Any]

    @property
    def access_token(self) -> str:
        return str(self.tokens["access_token"])

    @property
    def claims(self) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(self.access_token, options={"verify_signature": False})
        return claims

    @property
    def methods(self) -> list[str]:
        return [entry["method"] for entry in self.claims["amr"]]

    def call(self, method: str, path: str, json: Any = None, **options: Any) -> Answer:
        return self.wire(method, path, json, token=self.access_token, **options)

    def refresh(self, token: str | None = None) -> Answer:
        """Refresh with `token` or the current one; the answer's tokens become the current ones."""
        token = token or self.tokens["refresh_token"]
        return self._keep(self.wire("POST", "/token?grant_type=refresh_token", {"refresh_token": token}))

    def enroll(self, name: str = "phone") -> dict[str, Any]:
        answer = self.call("POST", "/factors", {"factor_type": "totp", "friendly_name": name})
        assert answer.status == 200, answer
        self.guards.endorse(answer.body["id"])
        return dict(answer.body)

    def challenge(self, factor: Mapping[str, Any], **options: Any) -> str:
        self.guards.grant(factor["id"])
        answer = self.call("POST", f"/factors/{factor['id']}/challenge", **options)
        assert answer.status == 200, answer
        return str(answer.body["id"])

    def verify(self, factor: Mapping[str, Any], challenge: str, code: str | None = None, **options: Any) -> Answer:
        body = {"challenge_id": challenge, "code": code or code_of(factor)}
        return self._keep(self.call("POST", f"/factors/{factor['id']}/verify", body, **options))

    def step_up(self, factor: Mapping[str, Any]) -> None:
        answer = self.verify(factor, self.challenge(factor))
        assert answer.status == 200, answer

    def unenroll(self, factor: Mapping[str, Any]) -> Answer:
        self.guards.withdraw(factor["id"])
        return self.call("DELETE", f"/factors/{factor['id']}")

    def _keep(self, answer: Answer) -> Answer:
        if answer.status == 200:
            self.tokens = answer.body
        return answer


def code_of(factor: Mapping[str, Any], *, steps: int = 0) -> str:
    """The code the phone shows, `steps` of 30 s away from now."""
    return pyotp.TOTP(factor["totp"]["secret"]).at(int(time.time()), counter_offset=steps)


@dataclass(frozen=True)
class Guards:
    """The app's guards in the tested database, if it has them: they want what the app would have written."""

    server: Server
    are_installed: bool

    @classmethod
    def of(cls, server: Server) -> "Guards":
        # A table that is there, though closed to the secret key, is 403 and not 404.
        key = {"apikey": server.secret_key, "Authorization": f"Bearer {server.secret_key}"}
        answer = httpx.get(f"{server.url}/rest/v1/mfa_challenge_grants?limit=0", headers=key, trust_env=False)
        return cls(server, are_installed=answer.status_code != 404)

    def endorse(self, factor_id: str) -> None:
        self._run("insert into public.mfa_endorsed_factors (factor_id) values (%s)", factor_id)

    def withdraw(self, factor_id: str) -> None:
        self._run("delete from public.mfa_endorsed_factors where factor_id = %s", factor_id)

    def grant(self, factor_id: str) -> None:
        self._run("insert into public.mfa_challenge_grants (factor_id) values (%s)", factor_id)

    def _run(self, statement: str, factor_id: str) -> None:
        if not self.are_installed:
            return
        self.server.has_to_have(self.server.database_url, "DATABASE_URL, as the app's guards want what the app writes")
        with psycopg.connect(str(self.server.database_url)) as connection:
            connection.execute(statement, (factor_id,))


@dataclass
class Person:
    wire: Wire
    guards: Guards
    id: str
    email: str
    password: str

    def log_in(self, password: str | None = None) -> Answer:
        body = {"email": self.email, "password": password or self.password}
        return self.wire("POST", "/token?grant_type=password", body)

    def sign_in(self) -> Device:
        answer = self.log_in()
        assert answer.status == 200, answer
        return Device(self.wire, self.guards, answer.body)


@dataclass
class People:
    """Makes people, and takes them away again."""

    wire: Wire
    guards: Guards
    made: list[str] = field(default_factory=list)

    def add(self, **attributes: Any) -> Person:
        """A confirmed person; `attributes` go to the admin API as they are."""
        person = Person(self.wire, self.guards, "", self.free_address(), secrets.token_urlsafe(12))
        body = {"email": person.email, "password": person.password, "email_confirm": True, **attributes}
        answer = self.wire.as_admin("POST", "/admin/users", body)
        assert answer.status == 200, answer
        person.id, person.email = answer.body["id"], answer.body["email"]
        self.made.append(person.id)
        return person

    def sign_up(self, email: str | None = None, password: str | None = None, *, query: str = "", **body: Any) -> Answer:
        email, password = email or self.free_address(), password or secrets.token_urlsafe(12)
        answer = self.wire("POST", f"/signup{query}", {"email": email, "password": password, **body})
        if answer.status == 200:
            self.made.append(answer.body["id"])
        return answer

    def remove(self) -> None:
        for user_id in self.made:
            self.wire.as_admin("DELETE", f"/admin/users/{user_id}")

    def free_address(self) -> str:
        return f"contract-{uuid4().hex}@example.com"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    # tests/conftest.py names its own stack, which has the app in it, in the same variables.
    if "SUPABASE_URL" in os.environ and "LOCAL_SUPABASE_LOGS" not in os.environ:
        yield Server.named_by(os.environ)
        return
    # One per worker: it starts in a second, and then no worker waits for another or sees another's rows.
    settings = replace(
        SETTINGS,
        access_token_hook="pg-functions://postgres/public/contract_hook",
    )
    with local_supabase.start(settings=settings, migrations=False) as stack:
        with psycopg.connect(stack.database_url) as connection:
            connection.execute(HOOK)
        yield Server.named_by(stack.environment(), is_ours=True)


@pytest.fixture
def our_server(server: Server) -> Server:
    server.has_to_have(server.is_ours, "switches that make it misbehave, as the stack has: unset SUPABASE_URL")
    return server


@pytest.fixture
def with_settings(our_server: Server) -> Iterator[Callable[..., Wire]]:
    """Make an Auth API with other settings, in this process, on the tested server's database."""
    with contextlib.ExitStack() as undo:

        def make(**changes: Any) -> Wire:
            pool = undo.enter_context(local_database.pool("supabase_auth_admin", str(our_server.database_url)))
            with tempfile.TemporaryDirectory() as folder:
                keys = installation.load_or_create(Path(folder)).keys
            settings = replace(SETTINGS, **{"access_token_hook": None, "sb_forwarded_for": False, **changes})
            app = Flask("contract")
            platform = Platform(our_server.url, settings, keys, pool, pool, time.time)
            app.register_blueprint(auth_api.blueprint(platform), url_prefix="/auth/v1")
            http = undo.enter_context(httpx.Client(transport=httpx.WSGITransport(app=app)))
            server = replace(our_server, publishable_key=keys.publishable_key, secret_key=keys.secret_key)
            return Wire(server, http)

        yield make


@pytest.fixture
def people_with(with_settings: Callable[..., Wire], guards: Guards) -> Iterator[Callable[..., "People"]]:
    """Make people who live under other settings."""
    made: list[People] = []

    def make(**changes: Any) -> People:
        made.append(People(with_settings(**changes), guards))
        return made[-1]

    yield make
    for people in made:
        people.remove()


@pytest.fixture(scope="session")
def wire(server: Server) -> Iterator[Wire]:
    with httpx.Client(trust_env=False, timeout=15, limits=httpx.Limits(max_connections=None)) as http:
        yield Wire(server, http)


@pytest.fixture
def other_address(server: Server) -> Iterator[httpx.Client]:
    """A connection that reaches the server from another IP address than `wire` does."""
    server.has_to_have(httpx.URL(server.url).host == "127.0.0.1", "an address that two of ours can reach")
    transport = httpx.HTTPTransport(local_address="127.0.0.2", trust_env=False)
    with httpx.Client(transport=transport, trust_env=False, timeout=15) as http:
        try:
            http.get(server.url)
        except httpx.ConnectError:
            # macOS gives the loopback interface 127.0.0.1 alone, and only root can add to it. Every other address of
            # the machine would take a server that listens beyond loopback, which tests do not start.
            pytest.skip("this machine has no 127.0.0.2")
        yield http


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """The unmodified client, as an app would make it."""
    with httpx.Client(trust_env=False, timeout=15) as http:
        yield create_client(
            server.url,
            server.publishable_key,
            ClientOptions(httpx_client=http, persist_session=False, auto_refresh_token=False, flow_type="implicit"),
        )


@pytest.fixture
def database(server: Server) -> Iterator[psycopg.Connection]:
    """For ageing rows, as time would."""
    server.has_to_have(server.database_url, "DATABASE_URL")
    with psycopg.connect(str(server.database_url), autocommit=True) as connection:
        yield connection


@pytest.fixture
def mails(server: Server, wire: Wire) -> Callable[[str], list[dict[str, Any]]]:
    """The mails sent to an address, newest first."""
    server.has_to_have(server.mailbox_url, "MAILBOX_URL")

    def sent_to(address: str) -> list[dict[str, Any]]:
        found = wire.http.get(f"{server.mailbox_url}/messages.json", params={"to": address})
        listed: list[dict[str, Any]] = found.json()
        return listed

    return sent_to


@pytest.fixture(scope="session")
def guards(server: Server) -> Guards:
    return Guards.of(server)


@pytest.fixture
def people(wire: Wire, guards: Guards) -> Iterator[People]:
    people = People(wire, guards)
    yield people
    people.remove()


@pytest.fixture
def alice(people: People) -> Person:
    return people.add()


@pytest.fixture
def bob(people: People) -> Person:
    return people.add()


@pytest.fixture
def alices_phone(alice: Person) -> Device:
    """Alice, signed in by password."""
    return alice.sign_in()


@pytest.fixture
def alices_app(alices_phone: Device) -> dict[str, Any]:
    """Alice's verified authenticator app; verifying it made `alices_phone` aal2."""
    factor = alices_phone.enroll()
    alices_phone.step_up(factor)
    return factor


@pytest.fixture
def steady_step() -> None:
    """Wait until the 30 s step of authenticator codes has a while to go."""
    left = 30 - time.time() % 30
    if left < 5:
        time.sleep(left)
