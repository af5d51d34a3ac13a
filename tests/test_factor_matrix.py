"""Factors added, used and removed in every order, by two sessions of one person: the rules beside the database.

The rules are written down a second time here, without SQL. Every sequence of up to four steps is lived through twice,
and what Supabase then says in tokens and keeps in its columns is compared with what the rules say.
"""

import os
import random
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple
from uuid import UUID, uuid4

import httpx
import jwt
import psycopg
import pytest

from tests.stranger import TLS

STEPS = 4
BATCHES = 4
MOST_OF_A_KIND = 2
WHO = ("A", "B")  # two sessions, both signed in with the password


# The rules


class Factor(NamedTuple):
    kind: Literal["app", "passkey"]
    number: int


class Step(NamedTuple):
    deed: Literal["adds", "uses", "uses a code", "removes"]
    who: str = ""
    factor: Factor | None = None

    def __str__(self) -> str:
        return " ".join([self.who, self.deed, *map(str, self.factor or ())]).strip()


@dataclass(frozen=True)
class Session:
    """What a session has proven: with which app and passkey last, and what it was that came last of all."""

    app: Factor | None = None
    passkey: Factor | None = None
    code: bool = False
    latest: Literal["app", "passkey", "code"] | None = None

    @property
    def counting(self) -> set[str]:
        """What its token has in amr besides the password. After a code, what factors proved before rests."""
        factors = {"totp": self.app, "mfa/webauthn": self.passkey} if self.latest in ("app", "passkey") else {}
        return {method for method, factor in factors.items() if factor} | ({"recovery_code"} if self.code else set())

    @property
    def aal(self) -> str:
        return "aal2" if self.counting else "aal1"

    @property
    def last_factor(self) -> str | None:
        """What auth.sessions.factor_id stands for; one mirror stands for all passkeys."""
        return {"app": str(self.app), "passkey": "mirror"}.get(self.latest or "")

    def proves(self, factor: Factor) -> "Session":
        return replace(self, **{factor.kind: factor, "latest": factor.kind})

    def loses(self, removed: Factor) -> "Session":
        """A passkey takes its own proofs along. An app's is kept where it came last, and by another app."""
        if self.aal == "aal1":
            return self
        passkey = None if self.passkey == removed else self.passkey
        app = self.app if self.latest == "app" and self.app != removed else None
        return replace(self, app=app, passkey=passkey, latest="app" if app else "passkey" if passkey else None)


@dataclass(frozen=True)
class Person:
    factors: tuple[Factor, ...] = ()
    sessions: dict[str, Session] = field(default_factory=lambda: dict.fromkeys(WHO, Session()))

    def after(self, step: Step) -> "Person":
        factors, sessions = self.factors, dict(self.sessions)
        if step.deed == "removes":
            factors = tuple(factor for factor in factors if factor != step.factor)
            if not factors:  # the codes go with the last one, and what they have proven
                return Person(factors, dict.fromkeys(sessions, Session()))
            return Person(factors, {who: session.loses(step.factor) for who, session in sessions.items()})
        if step.deed == "uses a code":
            sessions[step.who] = replace(sessions[step.who], code=True, latest="code")
            return Person(factors, sessions)
        sessions[step.who] = sessions[step.who].proves(step.factor)
        if step.factor.kind == "app":  # Supabase Auth then ends every session of this person at aal1
            sessions = {who: session for who, session in sessions.items() if session.aal == "aal2"}
        return Person(factors + ((step.factor,) if step.deed == "adds" else ()), sessions)

    def possible(self, number: int) -> Iterator[Step]:
        """What this person can do next, where the app and Supabase let them. A new factor gets `number`."""
        for who, session in self.sessions.items():
            for kind in ("app", "passkey"):
                room = sum(factor.kind == kind for factor in self.factors) < MOST_OF_A_KIND
                if who == "A" and room and (session.aal == "aal2" or not self.factors):
                    yield Step("adds", who, Factor(kind, number))
            yield from (Step("uses", who, factor) for factor in self.factors)
            yield Step("uses a code", who)
        yield from (Step("removes", factor=factor) for factor in self.factors)


def sequences(steps: int) -> list[list[Step]]:
    """All of them, also the shorter ones: so what is compared at the end is compared after every step."""
    found, layer = [], [([], Person())]
    for number in range(1, steps + 1):
        layer = [([*done, step], person.after(step)) for done, person in layer for step in person.possible(number)]
        found += [done for done, _ in layer]
    return found


def said_by_the_rules(steps: list[Step]) -> Person:
    person = Person()
    for step in steps:
        person = person.after(step)
    return person


APP, OTHER_APP, PASSKEY, OTHER_PASSKEY = Factor("app", 1), Factor("app", 2), Factor("passkey", 1), Factor("passkey", 2)


@pytest.mark.parametrize(
    ("steps", "proven"),
    [
        ([Step("adds", "A", PASSKEY)], {"A": {"mfa/webauthn"}, "B": set()}),
        ([Step("adds", "A", PASSKEY), Step("uses", "B", PASSKEY)], {"A": {"mfa/webauthn"}, "B": {"mfa/webauthn"}}),
        # Another device verifies an app: what has proven something survives, what has not is ended.
        ([Step("adds", "A", APP)], {"A": {"totp"}}),
        (
            [Step("adds", "A", PASSKEY), Step("uses", "B", PASSKEY), Step("adds", "A", APP)],
            {"A": {"totp", "mfa/webauthn"}, "B": {"mfa/webauthn"}},
        ),
        # The session goes on by what remains.
        ([Step("adds", "A", APP), Step("adds", "A", PASSKEY), Step("removes", factor=APP)], {"A": {"mfa/webauthn"}}),
        ([Step("adds", "A", PASSKEY), Step("adds", "A", APP), Step("removes", factor=PASSKEY)], {"A": {"totp"}}),
        # The safe side: an app that came before the passkey is asked for again, though it is still there.
        ([Step("adds", "A", APP), Step("adds", "A", PASSKEY), Step("removes", factor=PASSKEY)], {"A": set()}),
        # A code stays what it is while there is a factor, and goes with the last one.
        (
            [Step("adds", "A", PASSKEY), Step("adds", "A", OTHER_PASSKEY), Step("uses a code", "B")]
            + [Step("removes", factor=PASSKEY)],
            {"A": {"mfa/webauthn"}, "B": {"recovery_code"}},
        ),
        (
            [Step("adds", "A", PASSKEY), Step("uses a code", "B"), Step("removes", factor=PASSKEY)],
            {"A": set(), "B": set()},
        ),
        ([Step("adds", "A", APP), Step("uses a code", "A"), Step("removes", factor=APP)], {"A": set()}),
        # One of two: only what the removed one had opened falls.
        (
            [Step("adds", "A", PASSKEY), Step("uses", "B", PASSKEY), Step("adds", "A", OTHER_PASSKEY)]
            + [Step("removes", factor=PASSKEY)],
            {"A": {"mfa/webauthn"}, "B": set()},
        ),
    ],
    ids=lambda value: ", ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_the_rules_say_what_was_found_to_hold(steps, proven):
    """The model, against examples made by hand: see contracts/database-facts.md, What held."""
    sessions = said_by_the_rules(steps).sessions
    assert {who: session.counting for who, session in sessions.items()} == proven


# The database


@dataclass
class Life:
    """A person in the database, made for one sequence, without the cost of signing up."""

    steps: list[Step]
    id: UUID = field(default_factory=uuid4)
    sessions: dict[str, UUID] = field(default_factory=lambda: {who: uuid4() for who in WHO})
    refresh_tokens: dict[str, str] = field(default_factory=lambda: {who: secrets.token_hex(6) for who in WHO})
    factors: dict[Factor, UUID] = field(default_factory=dict)

    def begins(self, database: psycopg.Cursor[Any]) -> None:
        """Two sign-ins with the password, as Supabase Auth writes them."""
        database.execute(
            "insert into auth.users (id, instance_id, aud, role, email, email_confirmed_at, raw_app_meta_data,"
            " raw_user_meta_data, created_at, updated_at) values (%s, '00000000-0000-0000-0000-000000000000',"
            " 'authenticated', 'authenticated', %s, now(), '{}', '{}', now(), now())",
            [self.id, f"{self.id}@example.com"],
        )
        for who, session in self.sessions.items():
            database.execute(
                "insert into auth.sessions (id, user_id, created_at, updated_at, aal)"
                " values (%s, %s, now(), now(), 'aal1')",
                [session, self.id],
            )
            self.writes_proof(database, who, "password")
            database.execute(
                "insert into auth.refresh_tokens (instance_id, token, user_id, session_id, revoked, created_at,"
                " updated_at) values ('00000000-0000-0000-0000-000000000000', %s, %s, %s, false, now(), now())",
                [self.refresh_tokens[who], self.id, session],
            )

    def does(self, database: psycopg.Cursor[Any], step: Step) -> None:
        match step:
            case Step("uses a code", who):
                database.execute(
                    "select public.mfa_elevate_session(%s, %s, 'recovery_code')", [self.sessions[who], self.id]
                )
            case Step("adds", who, Factor("app") as app):
                self.adds_app(database, app)
                self.verifies(database, who, app)
            case Step("uses", who, Factor("app") as app):
                self.verifies(database, who, app)
            case Step("removes", _, Factor("app") as app):
                database.execute("select public.mfa_remove_factor(%s, %s, true)", [self.id, self.factors[app]])
            case Step("adds", who, passkey):
                database.execute(
                    "select public.passkey_add(%s, %s, '', 0, '{}', %s, %s, null, false, false, '', %s, 20)",
                    [self.id, f"{self.id} {passkey}", UUID(int=0), str(passkey), self.sessions[who]],
                )
            case Step("uses", who, passkey):
                database.execute(
                    "select public.passkey_used(id, 0, false, '', %s) from public.mfa_passkeys"
                    " where credential_id = %s",
                    [self.sessions[who], f"{self.id} {passkey}"],
                )
            case Step("removes", _, passkey):
                database.execute(
                    "select public.passkey_remove(%s, id, true) from public.mfa_passkeys where credential_id = %s",
                    [self.id, f"{self.id} {passkey}"],
                )

    def adds_app(self, database: psycopg.Cursor[Any], app: Factor) -> None:
        """Enrolled at Supabase Auth, endorsed by the app."""
        factor = self.factors[app] = uuid4()
        database.execute(
            "insert into auth.mfa_factors (id, user_id, friendly_name, factor_type, status, secret, created_at,"
            " updated_at) values (%s, %s, %s, 'totp', 'unverified', 'AAAA', now(), now())",
            [factor, self.id, str(app)],
        )
        database.execute("insert into public.mfa_endorsed_factors (factor_id) values (%s)", [factor])

    def verifies(self, database: psycopg.Cursor[Any], who: str, app: Factor) -> None:
        """What Supabase Auth writes after a right code, in its order (contract supabase-auth, 4.3)."""
        database.execute("update auth.mfa_factors set status = 'verified' where id = %s", [self.factors[app]])
        self.writes_proof(database, who, "totp")
        database.execute(
            "update auth.sessions set aal = 'aal2', factor_id = %s where id = %s",
            [self.factors[app], self.sessions[who]],
        )
        database.execute("delete from auth.sessions where user_id = %s and aal < 'aal2'", [self.id])

    def writes_proof(self, database: psycopg.Cursor[Any], who: str, method: str) -> None:
        database.execute(
            "insert into auth.mfa_amr_claims (id, session_id, created_at, updated_at, authentication_method)"
            " values (gen_random_uuid(), %s, now(), now(), %s)"
            " on conflict (session_id, authentication_method) do update set updated_at = excluded.updated_at",
            [self.sessions[who], method],
        )

    def refreshes(self, supabase: httpx.Client, who: str) -> dict[str, Any] | None:
        """Return the claims of a new token, or None: this session has ended."""
        answer = supabase.post("/token?grant_type=refresh_token", json={"refresh_token": self.refresh_tokens[who]})
        if answer.status_code == 400:
            return None
        tokens = answer.raise_for_status().json()
        self.refresh_tokens[who] = tokens["refresh_token"]
        return jwt.decode(tokens["access_token"], options={"verify_signature": False})

    def columns(self, database: psycopg.Connection[dict[str, Any]]) -> dict[str, tuple[str, str | None]]:
        """aal and last factor of each session that there is."""
        rows = database.execute(
            "select s.id, s.aal::text, s.factor_id, f.factor_type::text as type, f.friendly_name as name"
            " from auth.sessions s left join auth.mfa_factors f on f.id = s.factor_id where s.user_id = %s",
            [self.id],
        ).fetchall()
        names = {session: who for who, session in self.sessions.items()}
        types = {None: None, "webauthn": "mirror"}
        return {
            names[row["id"]]: (
                row["aal"],
                "a factor that is gone"
                if row["factor_id"] and not row["type"]
                else types.get(row["type"], row["name"]),
            )
            for row in rows
        }


def compare(life: Life, done: list[Step], supabase: httpx.Client, database: psycopg.Connection[dict[str, Any]]) -> None:
    said = said_by_the_rules(done)
    for who in WHO:
        claims, session = life.refreshes(supabase, who), said.sessions.get(who)
        assert (claims is None) == (session is None), who
        if claims is not None and session is not None:
            assert {entry["method"] for entry in claims["amr"]} == session.counting | {"password"}, who
            assert (claims["aal"], claims["assurance"]) == (session.aal, "stamped"), who
    assert life.columns(database) == {who: (session.aal, session.last_factor) for who, session in said.sessions.items()}
    mirrors = database.execute(
        "select from auth.mfa_factors where user_id = %s and factor_type = 'webauthn'", [life.id]
    ).rowcount
    assert mirrors == any(factor.kind == "passkey" for factor in said.factors)


@pytest.fixture(scope="module")
def supabase():
    headers = {"apikey": os.environ["SUPABASE_PUBLISHABLE_KEY"]}
    with httpx.Client(base_url=f"{os.environ['SUPABASE_URL']}/auth/v1", headers=headers, verify=TLS) as client:
        yield client


@pytest.mark.parametrize("batch", range(BATCHES))
def test_tokens_and_columns_say_what_the_rules_say_after_every_sequence_of_steps(database, supabase, batch):
    lives = [Life(steps) for steps in sequences(STEPS)[batch::BATCHES]]
    assert len(lives) > 200
    with database.transaction(), database.pipeline(), database.cursor() as cursor:
        for life in lives:
            life.begins(cursor)
            for step in life.steps:
                life.does(cursor, step)

    def disagreement(life: Life) -> str | None:
        try:
            compare(life, life.steps, supabase, database)
        except AssertionError as found:
            return f"{', '.join(map(str, life.steps))}: {found}"
        return None

    with ThreadPoolExecutor(3) as threads:
        assert [text for text in threads.map(disagreement, lives) if text] == []


def test_it_makes_no_difference_that_tokens_are_refreshed_between_the_steps(database, supabase):
    for steps in random.Random(4).sample([steps for steps in sequences(STEPS) if len(steps) == STEPS], 25):
        life = Life(steps)
        with database.cursor() as cursor:
            life.begins(cursor)
            for number, step in enumerate(steps, start=1):
                life.does(cursor, step)
                compare(life, steps[:number], supabase, database)


def test_five_refreshes_change_nothing(database, supabase):
    life = Life([Step("adds", "A", PASSKEY), Step("uses a code", "B")])
    with database.cursor() as cursor:
        life.begins(cursor)
        for step in life.steps:
            life.does(cursor, step)
    for _ in range(5):
        compare(life, life.steps, supabase, database)


# What guards do to deletions


@pytest.fixture
def life(database):
    """Has an app and a passkey, both proven in A."""
    life = Life([Step("adds", "A", PASSKEY), Step("adds", "A", APP)])
    with database.cursor() as cursor:
        life.begins(cursor)
        for step in life.steps:
            life.does(cursor, step)
    return life


@pytest.mark.parametrize("kind", ["totp", "webauthn"])
def test_no_factor_that_counts_is_deleted_before_its_endorsement(database, life, kind):
    deletion = "delete from auth.mfa_factors where user_id = %s and factor_type = %s"
    with pytest.raises(psycopg.errors.RaiseException, match="withdraw the endorsement"):
        database.execute(deletion, [life.id, kind])
    database.execute(
        "delete from public.mfa_endorsed_factors e using auth.mfa_factors f"
        " where f.id = e.factor_id and f.user_id = %s and f.factor_type = %s",
        [life.id, kind],
    )
    database.execute(deletion, [life.id, kind])


def test_without_its_endorsement_the_mirror_proves_nothing(database, supabase, life):
    database.execute(
        "delete from public.mfa_endorsed_factors e using auth.mfa_factors f"
        " where f.id = e.factor_id and f.user_id = %s",
        [life.id],
    )
    claims = life.refreshes(supabase, "A")
    assert (claims["aal"], {entry["method"] for entry in claims["amr"]}) == ("aal1", {"password"})


def test_a_person_who_is_deleted_takes_everything_along(database, life):
    tables = {
        "auth.mfa_factors": "user_id",
        "auth.sessions": "user_id",
        "public.mfa_passkeys": "user_id",
        "public.webauthn_handles": "user_id",
    }
    handle = [life.id, secrets.token_hex()]
    database.execute("insert into public.webauthn_handles (user_id, handle) values (%s, %s)", handle)
    counts = [f"select from {table} where {column} = %s" for table, column in tables.items()]
    factors = [row["id"] for row in database.execute("select id from auth.mfa_factors where user_id = %s", [life.id])]
    counts_of_factors = "select from public.mfa_endorsed_factors where factor_id = any(%s)"
    session = "select from public.mfa_passkey_sessions where session_id = %s"
    assert all(database.execute(count, [life.id]).rowcount for count in counts)
    assert database.execute(counts_of_factors, [factors]).rowcount == 2
    assert database.execute(session, [life.sessions["A"]]).rowcount == 1
    database.execute("delete from auth.users where id = %s", [life.id])
    assert not any(database.execute(count, [life.id]).rowcount for count in counts)
    assert database.execute(counts_of_factors, [factors]).rowcount == 0
    assert database.execute(session, [life.sessions["A"]]).rowcount == 0


@pytest.mark.parametrize("order", [1, -1], ids=["", "the other way round"])
@pytest.mark.parametrize("factors", [(PASSKEY, APP), (PASSKEY, OTHER_PASSKEY), (APP, OTHER_APP)], ids=str)
def test_two_removals_at_once_do_not_each_count_on_the_others_factor(database, supabase, factors, order):
    steps = [Step("adds", "A", factor) for factor in factors]
    life = Life(steps)
    with database.cursor() as cursor:
        life.begins(cursor)
        for step in steps:
            life.does(cursor, step)
    removals = [Step("removes", factor=factor) for factor in factors][::order]
    both_at_once(life, removals)
    compare(life, [*steps, *removals], supabase, database)


def test_two_first_passkeys_at_once_share_one_mirror(database, supabase):
    life = Life([Step("adds", "A", PASSKEY), Step("adds", "B", OTHER_PASSKEY)])
    with database.cursor() as cursor:
        life.begins(cursor)
    both_at_once(life, life.steps)
    compare(life, life.steps, supabase, database)


def both_at_once(life: Life, steps: list[Step]) -> None:
    """The second begins before the first is committed, and has to wait for it."""
    url = os.environ["DATABASE_URL"]
    with psycopg.connect(url) as one, psycopg.connect(url) as other, ThreadPoolExecutor(1) as thread:
        life.does(one.cursor(), steps[0])
        waiting = thread.submit(life.does, other.cursor(), steps[1])
        time.sleep(0.1)
        assert not waiting.done()
        one.commit()
        waiting.result(timeout=10)
        other.commit()
