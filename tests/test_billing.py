"""Billing details: open for five minutes after a proof, in a live session, and the database itself sees to that."""

import json
import time

import httpx
import pytest
from webtest import TestResponse

from app import create_app
from tests.people import Browser, Person, form
from tests.stranger import Stranger
from tests.test_attacks import access_token_of

PATH = "/settings/billing"
DETAILS = {
    "plan": "team",
    "name": "Alice Liddell",
    "street": "Deanery 1",
    "postal_code": "OX1 1DP",
    "city": "Oxford",
    "country": "United Kingdom",
}


def saves(browser: Browser, **changes: str) -> TestResponse:
    page = form(browser.get(PATH), PATH)
    for field, text in (DETAILS | changes).items():
        page[field] = text
    return page.submit()


def kept(person: Person) -> dict[str, str] | None:
    row = person.database.execute("select * from public.billing where user_id = %s", [person.id]).fetchone()
    return row and {name: text for name, text in row.items() if name != "user_id"}


# The page


def test_details_are_saved_shown_and_changed(alice, alice_at_aal2):
    page = alice_at_aal2.get(PATH)
    assert form(page, PATH)["plan"].value == "personal"
    assert saves(alice_at_aal2).location == PATH
    page = alice_at_aal2.get(PATH)
    assert "Your billing details are saved." in page
    assert {name: form(page, PATH)[name].value for name in DETAILS} == DETAILS == kept(alice)
    saves(alice_at_aal2, plan="company", city=" Guildford ")
    assert kept(alice) == DETAILS | {"plan": "company", "city": "Guildford"}


@pytest.mark.parametrize(
    ("field", "typed", "sentence"),
    [
        ("name", "", "Enter the name for the invoice."),
        ("name", " \n ", "Enter the name for the invoice."),
        ("street", "", "Enter the street and number."),
        ("postal_code", "", "Enter the postal code."),
        ("city", "", "Enter the city."),
        ("country", "", "Enter the country."),
        ("country", "D", "Use 2 to 60 characters."),
        ("name", "x" * 101, "Use at most 100 characters."),
        ("street", "x" * 101, "Use at most 100 characters."),
        ("postal_code", "1" * 21, "Use at most 20 characters."),
        ("city", "x" * 101, "Use at most 100 characters."),
        ("country", "x" * 61, "Use 2 to 60 characters."),
        ("plan", "free of charge", "Choose one of the plans."),
        ("plan", "", "Choose one of the plans."),
    ],
)
def test_what_will_not_do_gets_a_sentence_and_nothing_typed_is_lost(alice, alice_at_aal2, field, typed, sentence):
    token = form(alice_at_aal2.get(PATH), PATH)["csrf_token"].value
    page = alice_at_aal2.post(PATH, DETAILS | {"csrf_token": token, field: typed})
    assert page.status_code == 422
    assert sentence in page
    for name in DETAILS.keys() - {field, "plan"}:
        assert form(page, PATH)[name].value == DETAILS[name]
    assert kept(alice) is None


@pytest.mark.parametrize("typed", ["x" * 100, "Ørsted & Søn <A/S> 中文"])
def test_every_name_is_kept_as_it_was_typed(alice, alice_at_aal2, typed):
    saves(alice_at_aal2, name=typed)
    assert kept(alice)["name"] == typed == form(alice_at_aal2.get(PATH), PATH)["name"].value


def test_at_299_seconds_it_opens_and_at_301_it_asks(alice, alice_at_aal2):
    saves(alice_at_aal2)
    page = None
    while page is None or seconds_since_proof(alice) > 299:  # the machine was too slow: what it shows proves nothing
        alice.ages_proofs(298 - seconds_since_proof(alice))
        page = alice_at_aal2.get(PATH)
    assert DETAILS["street"] in page
    alice.ages_proofs(301 - seconds_since_proof(alice))
    page = alice_at_aal2.get(PATH)
    assert page.location == "/mfa/challenge?next=/settings/billing&action=billing"
    assert "This is needed to see and change your billing details" in page.follow()


def test_a_form_that_waits_for_a_proof_is_kept_and_then_sent(alice, alice_at_aal2):
    page = form(alice_at_aal2.get(PATH), PATH)
    for field, text in DETAILS.items():
        page[field] = text
    alice.ages_proofs(301)
    alice.forgets_used_codes()
    asked = page.submit()
    assert asked.status_code == 403
    assert kept(alice) is None
    challenge = form(asked, "/mfa/challenge")
    challenge["code"] = alice.phones[0].code()
    again = challenge.submit()
    assert kept(alice) is None  # a button sends it: the proof may have been somebody's who only looked on
    assert form(again, PATH).submit().location == PATH
    assert kept(alice) == DETAILS


def test_without_a_factor_it_leads_to_setting_one_up(alice):
    browser = alice.signs_in()
    assert browser.get(PATH).location == "/settings/security?next=/settings/billing&action=billing"
    token = form(browser.get("/account"), "/account")["csrf_token"].value
    browser.post(PATH, DETAILS | {"csrf_token": token})
    assert kept(alice) is None


def test_what_is_said_of_the_spent_code_is_true_on_this_page_too(alice, alice_at_aal2):
    codes = alice.makes_codes(alice_at_aal2)
    page = form(alice_at_aal2.get(PATH), PATH)
    for name, text in DETAILS.items():
        page[name] = text
    alice.ages_proofs(400)
    proof = form(page.submit(headers={"HX-Request": "true"}), "/mfa/challenge/recovery-code")
    proof["code"] = codes[0]
    proof.submit(headers={"HX-Request": "true"})
    assert "is spent. 9 are left. Under Security, set up anew what was lost" in alice_at_aal2.get(PATH)


def test_a_recovery_code_opens_it(alice, alice_at_aal2):
    codes = alice.makes_codes(alice_at_aal2)
    browser = alice.browser()
    alice.submits_password(browser)
    alice.submits_recovery_code(browser, codes[0])
    assert browser.get(PATH).status_code == 200


def test_round_trips(alice, alice_at_aal2, round_trips):
    page = form(alice_at_aal2.get(PATH), PATH)
    assert round_trips[-2:] == ["POST /rest/v1/rpc/vault_read", "POST /rest/v1/rpc/billing_mine"]
    for field, text in DETAILS.items():
        page[field] = text
    round_trips.clear()
    page.submit()
    assert round_trips == ["POST /rest/v1/rpc/vault_read", "POST /rest/v1/billing"]
    round_trips.clear()
    page["city"] = ""
    assert page.submit().status_code == 422
    assert round_trips == ["POST /rest/v1/rpc/vault_read"]


# The database refuses what the app had allowed


@pytest.fixture(scope="module")
def slow_app():
    """Its clock is 20 s behind the database's."""
    app = create_app(clock=lambda: time.time() - 20)
    yield app
    app.extensions["stepup"].gateway.close()


@pytest.fixture
def late(alice_at_aal2, alice, slow_app):
    """A browser whose proof is 310 s old, at the app with the slow clock, which thinks that it is 290."""
    saves(alice_at_aal2)
    alice.ages_proofs(310)
    alice_at_aal2.get("/account")  # fetches the new token
    alice.forgets_used_codes()
    return Browser(slow_app, alice_at_aal2.cookiejar)


def test_a_stale_read_asks_for_a_proof_and_shows_no_empty_form(alice, late):
    asked = late.get(PATH)
    assert asked.location.startswith("/mfa/challenge")
    challenge = form(asked.follow(), "/mfa/challenge")  # and does not send the browser in circles
    challenge["code"] = alice.phones[0].code()
    assert form(challenge.submit().follow(), PATH)["street"].value == DETAILS["street"]


@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}], ids=["plain", "htmx"])
def test_a_stale_write_asks_for_a_proof_and_keeps_what_was_typed(alice, late, headers):
    token = form(late.get("/account"), "/account")["csrf_token"].value
    asked = late.post(PATH, DETAILS | {"city": "London", "csrf_token": token}, headers=headers)
    assert asked.status_code == 403
    assert asked.headers.get("HX-Retarget") == ("#proof" if headers else None)
    assert form(asked, "/mfa/challenge")
    assert kept(alice) == DETAILS
    assert headers or asked.html.find(attrs={"name": "kept.city", "value": "London"})


def test_a_session_that_ends_between_gate_and_table_leads_to_signing_in(alice, alice_at_aal2, round_trips, database):
    saves(alice_at_aal2)
    token = form(alice_at_aal2.get("/account"), "/account")["csrf_token"].value
    hooks = alice.app.extensions["stepup"].gateway._http.event_hooks["request"]

    def end_session(request):
        if request.url.path == "/rest/v1/billing":
            database.execute("delete from auth.sessions where user_id = %s", [alice.id])

    hooks.append(end_session)
    asked = alice_at_aal2.post(PATH, DETAILS | {"city": "London", "csrf_token": token})
    hooks.remove(end_session)
    assert asked.status_code == 403
    assert form(asked, "/login")
    assert kept(alice) == DETAILS


# Without the app


def test_the_database_refuses_a_stale_read_and_a_stale_write(alice, alice_at_aal2):
    saves(alice_at_aal2)
    token = token_aged(alice, alice_at_aal2, 290)
    assert reads(token) == [DETAILS]
    assert writes(token, city="London").is_success
    token = token_aged(alice, alice_at_aal2, 301)
    assert reads(token) == []
    assert mine(token).status_code == 403
    assert mine(token).json()["code"] == "42501"
    assert writes(token, city="Paris").json()["code"] == "42501"
    assert writes(token, method="PATCH", city="Paris").json() == []  # what is not shown is not changed
    assert kept(alice)["city"] == "London"


@pytest.mark.parametrize(
    ("claims", "allowed"),
    [
        ({}, True),
        ({"age": 299}, True),
        ({"age": 300}, False),
        ({"age": 301}, False),
        ({"age": -29}, True),
        ({"age": -31}, False),
        ({"aal": "aal1"}, False),
        ({"assurance": None}, False),
        ({"amr": []}, False),
        ({"method": "password"}, False),
        ({"method": "trusted_device"}, False),
        ({"session_id": ""}, False),
        ({"session_id": "00000000-0000-4000-8000-000000000000"}, False),
        ({"sub": "00000000-0000-4000-8000-000000000000"}, False),
    ],
    ids=str,
)
def test_what_the_policy_makes_of_a_token(alice, alice_at_aal2, database, claims, allowed):
    """To the second: inside of a transaction, the database's clock stands still."""
    saves(alice_at_aal2)
    genuine = Stranger(token=access_token_of(alice)).claims
    with database.transaction(force_rollback=True):
        (clock,) = database.execute("select extract(epoch from now())::int as now")
        proof = {"method": claims.get("method", "totp"), "timestamp": clock["now"] - claims.get("age", 0)}
        token = json.dumps(genuine | {"amr": [proof]} | claims)
        database.execute(
            "select set_config('request.jwt.claims', %s, true), set_config('role', 'authenticated', true)", [token]
        )
        assert database.execute("select from public.billing").rowcount == allowed
        assert database.execute("update public.billing set city = 'London'").rowcount == allowed


@pytest.mark.parametrize("moved", [-120, -3600])
def test_a_proof_from_the_future_is_none(alice, alice_at_aal2, moved):
    saves(alice_at_aal2)
    token = token_aged(alice, alice_at_aal2, moved)
    assert reads(token) == []
    assert not writes(token).is_success


def test_the_password_alone_reads_and_writes_nothing(alice, alice_at_aal2):
    saves(alice_at_aal2)
    token = Stranger().signs_in_as(alice).token
    assert reads(token) == []
    assert mine(token).status_code == 403
    assert not writes(token, city="London").is_success
    assert kept(alice) == DETAILS


def test_nobody_without_a_factor_has_a_row(alice):
    token = Stranger().signs_in_as(alice).token
    assert not writes(token).is_success
    assert mine(token).status_code == 403
    assert kept(alice) is None


def test_a_token_from_before_a_sign_out_opens_notes_until_it_expires_and_billing_no_more(alice, alice_at_aal2):
    saves(alice_at_aal2)
    token = access_token_of(alice)
    assert reads(token) == [DETAILS]
    form(alice_at_aal2.get("/logout"), "/logout").submit()
    check_refused_but_for_notes(alice, token)


def test_a_token_from_before_a_removal_opens_notes_until_it_expires_and_billing_no_more(alice, alice_at_aal2):
    """The session lives, and its token says aal2 with a proof of a moment ago: only a look at the session helps."""
    alice.set_up_app(alice_at_aal2, "Tablet")
    saves(alice_at_aal2)
    token = access_token_of(alice)
    (tablet,) = alice.database.execute(
        "select id from auth.mfa_factors where user_id = %s and friendly_name = 'Tablet'", [alice.id]
    )
    remove = f"/settings/security/totp/{tablet['id']}/remove"
    assert form(alice_at_aal2.get(remove), remove).submit().location == "/settings/security"
    check_refused_but_for_notes(alice, token)


def check_refused_but_for_notes(alice: Person, token: str) -> None:
    stranger = Stranger(token=token)
    assert stranger.claims["aal"] == "aal2"
    assert reads(token) == []
    assert mine(token).status_code == 403
    assert not writes(token, city="London").is_success
    assert kept(alice) == DETAILS
    assert stranger.send("GET", "rest/v1/notes").status_code == 200
    assert stranger.post("rest/v1/notes", body="written with a token of before").status_code == 201


def test_of_somebody_else_nothing_is_read_written_or_claimed(new_person):
    alice, mallory = new_person(), new_person("mallory")
    browsers = {}
    for person in (alice, mallory):
        browsers[person.email] = browser = person.signs_in()
        person.set_up_app(browser)
    saves(browsers[alice.email])
    token = access_token_of(mallory)
    assert reads(token) == []
    assert mine(token).json() is None
    assert "Deanery" not in browsers[mallory.email].get(PATH)
    for method in ("POST", "PATCH"):
        assert writes(token, method=method, user_id=alice.id, city="London").json()["code"] == "42501"
    assert writes(token, method="PATCH", city="London").json() == []
    assert writes(token, city="Paris").is_success  # a row of her own
    assert kept(alice) == DETAILS
    assert kept(mallory)["city"] == "Paris"
    assert Stranger(token=token).send("DELETE", "rest/v1/billing?city=eq.Paris").status_code == 403


@pytest.mark.parametrize("change", [{"plan": "free"}, {"city": " "}, {"country": "D"}, {"name": "x" * 101}], ids=str)
def test_the_database_keeps_no_nonsense(alice, alice_at_aal2, change):
    assert writes(access_token_of(alice), **change).json()["code"] == "23514"


def reads(token: str) -> list[dict[str, str]]:
    columns = ",".join(DETAILS)
    return Stranger(token=token).send("GET", f"rest/v1/billing?select={columns}").raise_for_status().json()


def mine(token: str) -> httpx.Response:
    return Stranger(token=token).post("rest/v1/rpc/billing_mine")


def writes(token: str, *, method: str = "POST", **changes: str) -> httpx.Response:
    headers = (
        {"Prefer": "resolution=merge-duplicates,return=representation"}
        if method == "POST"
        else {"Prefer": "return=representation"}
    )
    where = "" if method == "POST" else "?plan=neq.x"
    body = DETAILS | changes if method == "POST" else changes
    return Stranger(token=token).send(method, f"rest/v1/billing{where}", headers=headers, json=body)


def token_aged(person: Person, browser: Browser, seconds: int) -> str:
    """The access token of a session whose last proof is so many seconds old."""
    person.ages_proofs(seconds - seconds_since_proof(person))
    browser.get("/account")
    return access_token_of(person)


def seconds_since_proof(person: Person) -> int:
    (row,) = person.database.execute(
        "select extract(epoch from now())::int - max(floor(extract(epoch from c.updated_at)))::int as age"
        " from auth.mfa_amr_claims c join auth.sessions s on s.id = c.session_id"
        " where s.user_id = %s and c.authentication_method = 'totp'",
        [person.id],
    )
    return row["age"]
