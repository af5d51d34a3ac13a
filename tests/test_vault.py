"""The vault behind the opaque cookie: one refresh for all, keys that are replaced, and nothing readable at rest."""

import contextlib
import hashlib
import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import psycopg
import pytest
from cryptography.fernet import Fernet

from app import Settings, create_app
from auth.refusals import Unavailable
from tests.people import Browser, Person, form
from tests.proxy import running_app, running_proxy
from tests.waiting import eventually

CHECKOUT = Path(__file__).parent.parent
REFRESH = "POST /auth/v1/token"


# One refresh for all


def test_of_fifty_requests_to_two_processes_one_refreshes_and_nobody_is_signed_out(alice, alice_at_aal2, database):
    with running_proxy() as proxy, running_app(proxy) as (one, _), running_app(proxy) as (other, _):
        alice.expires_tokens()
        pages = fifty_pages([one, other], cookies_of(alice_at_aal2))
        assert [page.status_code for page in pages] == [200] * 50
        assert not any("Set-Cookie" in page.headers and "stepup=" in page.headers["Set-Cookie"] for page in pages)
        assert proxy.asked("/auth/v1/token") == ["POST /auth/v1/token?grant_type=refresh_token"]
    assert alice_at_aal2.get("/account").status_code == 200
    assert leases(database, alice) == 0


def test_of_fifty_requests_while_a_refresh_hangs_in_a_dead_process_one_takes_over(alice, alice_at_aal2, database):
    """The holder of the lease dies after Supabase has rotated the token and before it has stored the new one."""
    with running_proxy() as proxy, running_app(proxy) as (one, _), running_app(proxy) as (other, _):
        alice.expires_tokens()
        account = take_lease(alice, alice_at_aal2)
        alice.app.extensions["stepup"].gateway.refresh(account.tokens.refresh_token)
        age_leases(database, alice)
        pages = fifty_pages([one, other], cookies_of(alice_at_aal2))
        assert [page.status_code for page in pages] == [200] * 50
        assert len(proxy.asked("/auth/v1/token")) == 1
    assert leases(database, alice) == 0


def test_while_another_process_refreshes_a_request_waits_and_takes_over_when_that_one_dies(
    alice, alice_at_aal2, database, round_trips
):
    alice.expires_tokens()
    take_lease(alice, alice_at_aal2)
    round_trips.clear()
    with ThreadPoolExecutor(1) as thread:
        page = thread.submit(alice_at_aal2.get, "/account")
        time.sleep(0.3)
        assert not page.done()
        assert REFRESH not in round_trips
        age_leases(database, alice)
        assert page.result(timeout=10).status_code == 200
    assert round_trips.count(REFRESH) == 1


def test_while_a_token_that_is_still_good_is_refreshed_nobody_waits(alice, alice_at_aal2, database, round_trips):
    database.execute(
        "update public.web_account_sessions set expires_at = now() + interval '30 seconds' where user_id = %s",
        [alice.id],
    )
    take_lease(alice, alice_at_aal2)
    round_trips.clear()
    assert alice_at_aal2.get("/account").status_code == 200
    assert round_trips == ["POST /rest/v1/rpc/vault_read", "GET /rest/v1/notes"]


def test_a_former_holder_of_the_lease_may_not_store(alice, alice_at_aal2, database):
    vault = alice.app.extensions["stepup"].vault
    slow = take_lease(alice, alice_at_aal2)
    age_leases(database, alice)
    quick = take_lease(alice, alice_at_aal2)
    with pytest.raises(Unavailable):
        vault.store(slow, replace(slow.tokens, refresh_token="older"))
    vault.store(quick, replace(quick.tokens, refresh_token="newer"))
    with pytest.raises(Unavailable):
        vault.store(quick, replace(quick.tokens, refresh_token="too late"))
    assert vault.read(alice_at_aal2.cookies["stepup"]).tokens.refresh_token == "newer"


def test_a_former_holder_cannot_give_back_what_is_now_anothers(alice, alice_at_aal2, database):
    vault = alice.app.extensions["stepup"].vault
    slow = take_lease(alice, alice_at_aal2)
    age_leases(database, alice)
    quick = take_lease(alice, alice_at_aal2)
    with pytest.raises(ZeroDivisionError), vault.lease_of(slow):
        raise ZeroDivisionError
    vault.store(quick, quick.tokens)


def test_a_session_that_has_ended_at_supabase_reads_as_signed_out(alice, alice_at_aal2, database):
    database.execute("delete from auth.sessions where user_id = %s", [alice.id])
    assert alice_at_aal2.get("/account").location.startswith("/login")


def test_a_refresh_token_that_supabase_no_longer_takes_ends_the_session(alice, alice_at_aal2, database):
    database.execute("delete from auth.refresh_tokens where user_id = %s", [alice.id])
    alice.expires_tokens()
    assert alice_at_aal2.get("/account").location.startswith("/login")
    assert rows(database, "web_account_sessions", alice) == []


# Keys that are replaced


def test_a_key_that_was_just_replaced_reads_for_ten_seconds_with_the_token_of_before(
    alice, alice_at_aal2, database, round_trips
):
    stale, _ = steps_up_again(alice, alice_at_aal2)
    alice.expires_tokens()
    round_trips.clear()
    page = stale.get("/account")
    assert page.status_code == 200
    assert REFRESH not in round_trips  # it never rotates tokens
    assert stale.get("/settings/security").location.startswith("/mfa/challenge")  # nor profits from the new proof
    assert "stepup" not in page.headers.get("Set-Cookie", "")

    database.execute(
        "update public.web_vaults v set previous_until = previous_until - interval '10 seconds'"
        " from public.web_account_sessions a where a.vault_id = v.id and a.user_id = %s",
        [alice.id],
    )
    page = stale.get("/account")
    assert page.location.startswith("/login")
    assert "stepup" not in page.headers.get("Set-Cookie", "")  # the browser has a newer one by now
    assert alice_at_aal2.get("/account").status_code == 200


def test_a_key_that_was_just_replaced_cannot_be_used_to_prove_a_code(alice, alice_at_aal2, round_trips):
    stale, challenge = steps_up_again(alice, alice_at_aal2)
    alice.forgets_used_codes()
    challenge["code"] = alice.phones[0].code()
    round_trips.clear()
    assert challenge.submit().location.startswith("/login")
    assert round_trips == ["POST /rest/v1/rpc/vault_read"]
    assert alice_at_aal2.get("/settings/security").status_code == 200


def test_a_key_from_before_the_code_is_still_at_aal1(alice_with_totp):
    browser = alice_with_totp.browser()
    alice_with_totp.submits_password(browser)
    before = copy_of(alice_with_totp, browser)
    assert alice_with_totp.submits_code(browser).location == "/account"
    assert before.get("/account").location.startswith("/mfa/challenge")


def test_signing_out_in_a_tab_whose_key_was_just_replaced_signs_out(alice, alice_at_aal2, database):
    _, sign_out = steps_up_again(alice, alice_at_aal2, open_before="/logout")
    assert sign_out.submit().location == "/login"
    assert alice_at_aal2.get("/account").location.startswith("/login")
    assert rows(database, "web_account_sessions", alice) == []
    assert database.execute("select from auth.sessions where user_id = %s", [alice.id]).rowcount == 0


@pytest.mark.parametrize("key", ["", "x", "é", "a" * 43, "' or 1=1 --", "\\x00", "0" * 4000])
def test_a_cookie_that_is_no_key_reads_as_signed_out(alice, key):
    answer = alice.app.test_client().get(
        "/account", headers={"Host": "localhost", "Cookie": f"stepup={key}".encode().decode("latin-1")}
    )
    assert answer.location.startswith("/login")
    assert "stepup" not in answer.headers.get("Set-Cookie", "")


def test_a_key_that_was_changed_in_one_character_reads_as_signed_out(alice, alice_at_aal2):
    key = alice_at_aal2.cookies["stepup"]
    for changed in (key[:-1], key + "A", key.swapcase(), key[::-1]):
        other = alice.browser()
        other.set_cookie("stepup", changed)
        assert other.get("/account").location.startswith("/login"), changed


# Nothing readable at rest


def test_a_sign_out_takes_its_locks_in_the_order_of_a_cleanup(alice, database):
    """Else, now and then, each waits for what the other holds, and Postgres ends one of them: a sign-in that fails."""
    key_hash = hashlib.sha256(alice.signs_in().cookies["stepup"].encode()).hexdigest()
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as other, ThreadPoolExecutor(1) as thread:
        with database.transaction():
            database.execute("select from public.web_account_sessions where user_id = %s for update", [alice.id])
            closed = thread.submit(other.execute, "select public.vault_close(%s)", [key_hash])
            waits = "select cardinality(pg_blocking_pids(%s)) > 0 as waits"
            assert eventually(lambda: database.execute(waits, [other.info.backend_pid]).fetchone()["waits"])
            database.execute("select from public.web_vaults where key_hash = %s for update nowait", [key_hash])
        closed.result()
    assert rows(database, "web_account_sessions", alice) == []


def test_neither_tokens_nor_keys_nor_secrets_can_be_read_in_the_tables(alice, database):
    browser = alice.signs_in()
    phone = alice.begins_app(browser)
    key = browser.cookies["stepup"]
    (session,) = rows(database, "web_account_sessions", alice)
    (vault,) = database.execute(
        "select v.key_hash, v::text as text from public.web_vaults v where id = %s", [session["vault_id"]]
    )
    assert vault["key_hash"] == hashlib.sha256(key.encode()).hexdigest()
    readable = session["text"] + vault["text"]
    for secret in (key, phone.secret, alice.password):
        assert secret not in readable
    for name in ("access_token", "refresh_token", "enrolment_secret"):
        assert session[name].startswith("gAAAA")  # Fernet
        readable = readable.replace(session[name], "")  # in which any three letters come up now and then
    assert "eyJ" not in readable
    # A refresh token is short: a plain one would not show as eyJ.
    (live,) = database.execute("select token from auth.refresh_tokens where session_id = %s", [session["session_id"]])
    assert live["token"] not in session["text"]


def test_an_entry_that_was_moved_to_somebody_else_reads_as_signed_out(new_person, database):
    alice, mallory = new_person(), new_person("mallory")
    theirs, own = alice.signs_in(), mallory.signs_in()
    (theirs_row,) = rows(database, "web_account_sessions", alice)
    (own_row,) = rows(database, "web_account_sessions", mallory)
    # Mallory can write to the tables, but has no key of the vault: Alice's sealed tokens in Mallory's entry.
    database.execute(
        "update public.web_account_sessions set access_token = %s, refresh_token = %s where id = %s",
        [theirs_row["access_token"], theirs_row["refresh_token"], own_row["id"]],
    )
    assert own.get("/account").location.startswith("/login")
    # Or Alice's whole entry under Mallory's name.
    database.execute(
        "update public.web_account_sessions set user_id = %s where id = %s", [mallory.id, theirs_row["id"]]
    )
    assert theirs.get("/account").location.startswith("/login")


@pytest.mark.parametrize("sealed", ["", "eyJhbGciOiJub25lIn0.e30.", "gAAAA", "é"])
def test_an_entry_that_was_not_sealed_by_us_reads_as_signed_out(alice, database, sealed):
    browser = alice.signs_in()
    database.execute("update public.web_account_sessions set access_token = %s where user_id = %s", [sealed, alice.id])
    assert browser.get("/account").location.startswith("/login")


def test_keys_can_be_rotated_one_behind_the_other_and_dropped_at_last(alice):
    browser = alice.signs_in()
    old, new = os.environ["VAULT_KEYS"], Fernet.generate_key().decode()
    for keys, is_signed_in in ((f"{new},{old}", True), (new, False), (f"{new},{old}", True)):
        with app_with(vault_keys=keys) as app:
            tab = copy_of(replace(alice, app=app), browser)
            assert (tab.get("/account").status_code == 200) is is_signed_in
    alice.expires_tokens()
    with app_with(vault_keys=f"{new},{old}") as app:  # what is stored from here on is sealed with the new one
        assert copy_of(replace(alice, app=app), browser).get("/account").status_code == 200
    with app_with(vault_keys=new) as app:
        assert copy_of(replace(alice, app=app), browser).get("/account").status_code == 200
    assert browser.get("/account").location.startswith("/login")


# Nobody gets another's answer


def test_eight_threads_as_four_people_never_see_each_others_notes(new_person):
    people = [new_person(name) for name in ("ann", "ben", "cho", "dee")]
    browsers = []
    for person in people:
        browser = person.signs_in()
        note = form(browser.get("/account"), "/account")
        note["body"] = f"written by {person.email}"
        note.submit()
        browsers += [browser, copy_of(person, browser)]

    def read(nth: int) -> None:
        mine, others = people[nth // 2], [person for person in people if person is not people[nth // 2]]
        for round in range(10):
            if round == 5:
                mine.expires_tokens()
            page = browsers[nth].get("/account")
            assert f"written by {mine.email}" in page
            assert not any(person.email in page for person in others)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(read, range(8)))


def fifty_pages(urls: list[str], cookies: str) -> list[httpx.Response]:
    with httpx.Client(headers={"Host": "localhost", "Cookie": cookies}, timeout=30) as client:
        with ThreadPoolExecutor(50) as threads:
            return list(threads.map(lambda nth: client.get(f"{urls[nth % len(urls)]}/account"), range(50)))


@contextlib.contextmanager
def app_with(**settings: str):
    app = create_app(Settings(**settings))
    yield app
    app.extensions["stepup"].gateway.close()


def cookies_of(browser: Browser) -> str:
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookiejar)


def copy_of(person: Person, browser: Browser) -> Browser:
    """Another browser with the same cookies as of now: a request that was sent before the next answer came."""
    copy = person.browser()
    for cookie in browser.cookiejar:
        copy.cookiejar.set_cookie(cookie)
    return copy


def steps_up_again(person: Person, browser: Browser, *, open_before: str = "/mfa/challenge"):
    """Prove a code in a session that is at aal2. Return a tab with the cookies of before, and the form it shows."""
    person.ages_proofs(400)
    person.forgets_used_codes()
    stale = copy_of(person, browser)
    opened = form(stale.get(open_before, {"action": "security"}), open_before)
    assert person.submits_code(browser).status_code == 303
    return stale, opened


def take_lease(person: Person, browser: Browser):
    """Take the lease as another process does, which never gives it back."""
    vault = person.app.extensions["stepup"].vault
    account = vault._read(browser.cookies["stepup"], str(uuid.uuid4()), True)
    assert account.lease
    return account


def age_leases(database, person: Person) -> None:
    """Let the seven seconds pass for which a lease is good."""
    database.execute(
        "update public.web_account_sessions set lease_until = lease_until - interval '7 seconds' where user_id = %s",
        [person.id],
    )


def leases(database, person: Person) -> int:
    held = "select from public.web_account_sessions where user_id = %s and lease_holder is not null"
    return database.execute(held, [person.id]).rowcount


def rows(database, table: str, person: Person) -> list[dict]:
    return database.execute(
        f"select t.*, t::text as text from public.{table} t where user_id = %s", [person.id]
    ).fetchall()
