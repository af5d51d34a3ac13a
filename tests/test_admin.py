"""/admin: what support sees and does, who cannot get there, and what even an administrator cannot do."""

import json
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest

from auth.refusals import NotYours, OwnAccount
from tests import ceremonies
from tests.authenticator import Authenticator
from tests.mailbox import mails_to
from tests.people import alerts, form
from tests.stranger import Stranger
from tests.test_attacks import csrf_token, everything_of, factors_of, writes_note
from tests.test_security_log import events_of, submits_code

REASON = "Called us: the phone was stolen"
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def administrator(new_admin):
    admin, _ = new_admin()
    return admin


@pytest.fixture
def desk(new_admin):
    """The browser of an administrator."""
    return new_admin()[1]


def page_of(person):
    return f"/admin/people/{person if isinstance(person, str) else person.id}"


def search(browser, part):
    asked = form(browser.get("/admin"), "/admin")
    asked["part"] = part
    return asked.submit()


def found_on(page):
    return [link.get_text() for link in page.html.select("section .plain a")]


def does(browser, person, deed, reason=REASON):
    asked = form(browser.get(page_of(person)), page_of(person))
    asked["deed"], asked["reason"] = deed, reason
    return asked.submit()


# Who gets there


def test_people_who_are_no_administrators_read_one_sentence(alice, alice_at_aal2, new_person):
    bob = new_person("bob")
    posted = {"csrf_token": csrf_token(alice_at_aal2), "part": "bob", "deed": "sessions", "reason": REASON}
    for answer in (
        alice_at_aal2.get("/admin"),
        alice_at_aal2.post("/admin", posted),
        alice_at_aal2.get(page_of(bob)),
        alice_at_aal2.post(page_of(bob), posted),
        alice_at_aal2.get(page_of(NOBODY)),
    ):
        assert answer.status_code == 403
        assert alerts(answer) == ["This page is for people who look after the site."]
        assert bob.email not in answer
    assert events_of(bob) == []
    assert not alice_at_aal2.get("/account").html.find("a", href="/admin")


def test_whoever_is_signed_out_goes_to_sign_in(alice):
    for path in ("/admin", page_of(alice)):
        assert alice.browser().get(path).location.startswith("/login")


def test_an_administrator_without_a_factor_is_led_to_set_one_up(new_admin):
    _, browser = new_admin(factor=False)
    assert browser.get("/admin").location == "/settings/security?" + urlencode(
        {"next": "/admin", "action": "admin"}, safe="/"
    )


def test_a_proof_is_good_for_half_an_hour(new_admin):
    admin, browser = new_admin()
    assert browser.get("/account").html.find("a", href="/admin")
    admin.ages_proofs(1799 - 5)
    assert browser.get("/admin").status_code == 200
    admin.ages_proofs(7)
    assert browser.get("/admin").location == "/mfa/challenge?next=/admin&action=admin"


def test_a_recovery_code_does_not_open_it(administrator):
    browser = administrator.browser()
    administrator.forgets_used_codes()
    administrator.signs_in(browser)
    codes = administrator.makes_codes(browser)
    other = administrator.browser()
    administrator.submits_password(other)
    assert submits_code(other, codes[0]).status_code == 303
    assert other.get("/account").status_code == 200
    assert other.get("/admin").location.startswith("/mfa/challenge")
    assert "with a recovery code, which is not enough for this" in other.get("/admin").follow().html.main.get_text()


def test_what_people_write_about_themselves_makes_nobody_an_administrator(alice, alice_at_aal2):
    stranger = Stranger().signs_in_as(alice)
    for data in ({"roles": ["admin"]}, {"app_metadata": {"roles": ["admin"]}}):
        assert stranger.send("PUT", "auth/v1/user", json={"data": data}).is_success
    alice.expires_tokens()
    assert alice_at_aal2.get("/admin").status_code == 403
    with pytest.raises(NotYours):
        flows(alice).find(alice.id, "example")


@pytest.mark.parametrize("roles", ["admin", {"admin": True}, ["administrator"], [["admin"]], None, []])
def test_only_the_role_itself_in_a_list_counts(alice, alice_at_aal2, new_person, roles):
    alice.database.execute(
        "update auth.users set raw_app_meta_data = raw_app_meta_data || %s where id = %s",
        [json.dumps({"roles": roles}), alice.id],
    )
    alice.expires_tokens()
    assert alice_at_aal2.get("/account").status_code in (200, 303)
    with pytest.raises(NotYours):
        flows(alice).look(alice.id, new_person().id)


@pytest.mark.parametrize("dismissed", ["no roles", "banned"])
def test_an_administrator_of_an_hour_ago_sees_and_does_nothing(new_admin, new_person, database, dismissed):
    """The token still says so, and opens the page; the database knows better."""
    admin, browser = new_admin()
    bob = new_person("bob")
    bob.signs_in()
    searched, acted = form(browser.get("/admin"), "/admin"), form(browser.get(page_of(bob)), page_of(bob))
    if dismissed == "banned":
        database.execute("update auth.users set banned_until = now() + interval '1 day' where id = %s", [admin.id])
    else:
        admin.gets_roles()
    before, log = everything_of(bob), events_of(bob)
    searched["part"], acted["deed"], acted["reason"] = bob.email, "sessions", REASON
    for answer in (searched.submit(), acted.submit(), browser.get(page_of(bob))):
        assert answer.status_code == 403
        assert bob.email not in answer
    assert (everything_of(bob), events_of(bob)) == (before, log)


def test_every_function_asks_who_it_is(alice, new_person):
    bob = new_person("bob")
    asked = flows(alice)
    for ask in (
        lambda: asked.find(alice.id, "bob"),
        lambda: asked.look(alice.id, bob.id),
        lambda: asked.end_sessions(alice.id, bob.id, REASON),
        lambda: asked.withdraw(alice.id, bob.id, NOBODY, REASON, now=0),
        lambda: asked.lift(alice.id, bob.id, REASON),
    ):
        with pytest.raises(NotYours):
            ask()


# Search


def test_people_are_found_by_a_part_of_their_address(desk, new_person):
    bob = new_person("bob-to-be-found")
    for part in (bob.email, bob.email[:12], bob.email[4:30].upper(), f"  {bob.email} "):
        assert bob.email in found_on(search(desk, part))
    page = search(desk, "nobody-has-this")
    assert "Nobody's address holds “nobody-has-this”." in page.html.main.get_text()


@pytest.mark.parametrize("part", ["", "ab", "  ab  ", "x" * 256])
def test_too_little_is_no_search(desk, part):
    page = search(desk, part)
    assert page.status_code == 422
    assert alerts(page)


@pytest.mark.parametrize("part", ["%%%", "___", "b%b", r"\\\\", "bob%", "'; drop table"])
def test_wildcards_are_letters_like_all_others(desk, new_person, part):
    new_person("bob")
    assert found_on(search(desk, part)) == []


def test_no_more_than_twenty_are_shown_and_it_is_said(desk, database, new_person):
    person = new_person("many")
    mark = person.email[:17]
    database.execute(
        "insert into auth.users (id, email) select gen_random_uuid(), %s || n || '@example.com'"
        " from generate_series(1, 19) n",
        [mark],
    )
    page = search(desk, mark)
    assert len(found_on(page)) == 20
    assert "There are more" not in page
    database.execute("insert into auth.users (id, email) values (gen_random_uuid(), %s)", [f"{mark}-more@example.com"])
    page = search(desk, mark)
    assert len(found_on(page)) == 20
    assert "There are more than these 20." in page


def test_those_whose_address_begins_so_come_first(desk, database, new_person):
    mark = new_person("begins").email[:19]
    for address in (f"a-{mark}@example.com", f"{mark}@a.example.com"):
        database.execute("insert into auth.users (id, email) values (gen_random_uuid(), %s)", [address])
    assert found_on(search(desk, mark))[-1] == f"a-{mark}@example.com"


def test_addresses_are_not_in_the_address_of_the_page(desk, new_person):
    bob = new_person("bob")
    page = search(desk, bob.email)
    assert page.request.query_string == ""
    assert bob.email not in str(page.html.find("a", string=bob.email)["href"])


# A person


def test_a_person_is_shown_with_factors_sessions_and_log_and_told_of_the_look(new_admin, new_person):
    admin, browser = new_admin()
    bob = new_person("bob")
    bobs = bob.signs_in()
    bob.set_up_app(bobs, "Bob's phone")
    bob.makes_codes(bobs)
    ceremonies.add_passkey(bobs, Authenticator())
    (passkey,) = ceremonies.passkeys_of(bob)
    text = browser.get(page_of(bob)).html.main.get_text(" ", strip=True)
    for part in (
        bob.email,
        "Bob's phone Authenticator app",
        f"{passkey['name']} Passkey",
        "10 of 10 recovery codes of sheet 1 are left.",
        "Signed in with the password, with a second factor.",
        "The authenticator app “Bob's phone” was added.",
        f"The account was looked at. By support ({admin.email}).",
    ):
        assert " ".join(part.split()) in " ".join(text.split()), part
    assert "The account was looked at." in bobs.get("/settings/security/log")
    assert admin.email not in bobs.get("/settings/security/log")
    assert events_of(bob)[-1] == ("looked_at", {})


def test_what_somebody_keeps_here_is_not_shown(desk, administrator, new_person):
    bob = new_person("bob")
    bobs = bob.signs_in()
    bob.set_up_app(bobs)
    writes_note(bobs, "between bob and himself")
    page = desk.get(page_of(bob))
    assert "between bob" not in page
    assert bob.phones[0].secret not in page.text.replace(" ", "")
    # The administrator's own session opens no rows of others either.
    notes = Stranger(token=own_token(administrator)).send("GET", "rest/v1/notes").json()
    assert notes == []


def own_token(person):
    browser = person.browser()
    person.forgets_used_codes()
    person.signs_in(browser)
    return person.app.extensions["stepup"].vault.read(browser.cookies["stepup"]).tokens.access_token


def test_reloading_does_not_push_out_of_sight_what_was_done(new_admin, alice, database):
    _, desk = new_admin()
    alice.signs_in()
    does(desk, alice, "sessions")
    for _ in range(3):
        desk.get(page_of(alice))
    assert [event for event, _ in events_of(alice)] == ["signed_in", "looked_at", "sessions_ended"]
    new_admin()[1].get(page_of(alice))
    assert events_of(alice)[-1] == ("looked_at", {})
    database.execute("update public.security_events set at = at - interval '61 minutes' where user_id = %s", [alice.id])
    desk.get(page_of(alice))
    assert [event for event, _ in events_of(alice)].count("looked_at") == 3


@pytest.mark.parametrize("method", ["get", "post"])
def test_nobody_is_a_sentence(desk, method):
    answer = desk.get(page_of(NOBODY))
    if method == "post":
        fields = {"csrf_token": csrf_token(desk), "deed": "sessions", "reason": REASON}
        answer = desk.post(page_of(NOBODY), fields)
    assert answer.status_code == 404
    assert alerts(answer) == ["There is no such account. It may have been deleted."]


@pytest.mark.parametrize(
    ("deed", "reason", "sentence"),
    [
        ("", REASON, "Choose what is to be done."),
        ("everything", REASON, "Choose what is to be done."),
        ("x' or true --", REASON, "Choose what is to be done."),
        ("sessions", "", "Say why, in 10 characters or more."),
        ("sessions", "because", "Say why, in 10 to 500 characters."),
        ("sessions", "a" + " " * 20 + "b", "Say why, in 10 to 500 characters."),
        ("sessions", "x" * 501, "Say why, in 10 to 500 characters."),
    ],
)
def test_a_deed_without_a_reason_is_not_done_and_what_was_typed_stays(desk, alice, deed, reason, sentence):
    alice.signs_in()
    before = everything_of(alice)
    fields = {"csrf_token": csrf_token(desk), "deed": deed, "reason": reason}
    page = desk.post(page_of(alice), fields)
    assert page.status_code == 422
    assert sentence in alerts(page)
    assert form(page, page_of(alice))["reason"].value.split() == reason.split()
    assert everything_of(alice) == before


def test_without_the_csrf_token_nothing_is_done(desk, alice):
    alice.signs_in()
    before = everything_of(alice)
    assert desk.post(page_of(alice), {"deed": "sessions", "reason": REASON}).status_code == 400
    assert everything_of(alice) == before


def test_a_reason_is_shown_as_text(desk, alice):
    alice.signs_in()
    done = does(desk, alice, "sessions", "<script>alert('ten')</script>")
    assert done.status_code == 303
    for page in (desk.get(page_of(alice)), alice.signs_in().get("/settings/security/log")):
        assert "<script>alert('ten')" not in page.text
        assert "because: <script>alert('ten')</script>" in page.html.main.get_text()


# Deeds


def test_ending_all_sessions_signs_out_everywhere(desk, alice, database):
    browsers = [alice.signs_in(), alice.signs_in()]
    stranger = Stranger().signs_in_as(alice)
    page = does(desk, alice, "sessions")
    assert page.location == page_of(alice)
    assert "Sessions that were ended: 3." in page.follow()
    for browser in browsers:
        assert browser.get("/account").location.startswith("/login")
    refresh = stranger.post("auth/v1/token?grant_type=refresh_token", refresh_token=stranger.refresh_token)
    assert not refresh.is_success
    assert events_of(alice)[-1] == ("sessions_ended", {"count": 3, "reason": REASON})
    assert database.execute("select from public.web_account_sessions where user_id = %s", [alice.id]).rowcount == 0
    assert f"because: {REASON}" in alice.signs_in().get("/settings/security/log")


def test_withdrawing_an_app_lowers_what_it_opened_and_tells_the_owner(new_admin, alice, database):
    admin, desk = new_admin()
    browser = alice.signs_in()
    alice.set_up_app(browser, "Phone")
    alice.makes_codes(browser)
    alice.codes = []
    (factor,) = factors_of(alice)
    page = does(desk, alice, factor)
    assert "“Phone” was withdrawn. It was the last second factor of this account." in page.follow()
    assert factors_of(alice) == {}
    (session,) = database.execute("select aal from auth.sessions where user_id = %s", [alice.id])
    assert session["aal"] == "aal1"
    codes = database.execute(
        "select from public.mfa_recovery_sets where user_id = %s and replaced_at is null", [alice.id]
    )
    assert codes.rowcount == 0
    row = database.execute(
        "select actor::text, what from public.security_events where user_id = %s and event = 'app_removed'", [alice.id]
    ).fetchone()
    assert row == {"actor": admin.id, "what": {"id": factor, "name": "Phone", "reason": REASON}}
    (mail,) = mails_to(alice.email)
    assert mail["subject"] == "Support has removed one of your second factors (Stepup)"
    assert "It was your last second factor" in mail["html"]


def test_withdrawing_a_passkey_leaves_the_other_factors(desk, alice):
    browser, device = alice.signs_in(), Authenticator()
    alice.set_up_app(browser, "Phone")
    ceremonies.add_passkey(browser, device)
    (passkey,) = ceremonies.passkeys_of(alice)
    assert "was withdrawn." in does(desk, alice, str(passkey["id"])).follow()
    assert ceremonies.passkeys_of(alice) == []
    assert list(factors_of(alice).values()) == ["verified"]
    (mail,) = mails_to(alice.email)
    assert "last second factor" not in mail["html"]


def test_of_the_last_factor_it_is_said_before_it_is_withdrawn(desk, alice):
    browser = alice.signs_in()
    alice.set_up_app(browser, "Phone")
    assert "Withdraw the authenticator app “Phone” (the last one)" in desk.get(page_of(alice))
    ceremonies.add_passkey(browser, Authenticator())
    page = desk.get(page_of(alice))
    assert "Withdraw the authenticator app “Phone”" in page and "the last one" not in page


def test_two_administrators_withdraw_one_factor_and_one_of_them_reads_that_it_was_done(new_admin, alice):
    alice.set_up_app(alice.signs_in(), "Phone")
    (factor,) = factors_of(alice)
    forms = []
    for _ in range(2):
        _, desk = new_admin()
        forms.append(form(desk.get(page_of(alice)), page_of(alice)))
        forms[-1]["deed"], forms[-1]["reason"] = factor, REASON
    with ThreadPoolExecutor(2) as threads:
        pages = sorted(threads.map(lambda asked: asked.submit(), forms), key=lambda page: page.status_code)
    assert [page.status_code for page in pages] == [303, 409]
    assert "it was done a moment ago" in alerts(pages[1])[0]
    assert [event for event, _ in events_of(alice)].count("app_removed") == 1
    assert len(mails_to(alice.email)) == 1


def test_an_id_of_somebody_elses_factor_withdraws_nothing(desk, alice, new_person):
    bob = new_person("bob")
    bob.set_up_app(bob.signs_in())
    (factor,) = factors_of(bob)
    alice.signs_in()
    page = desk.post(page_of(alice), {"csrf_token": csrf_token(desk), "deed": factor, "reason": REASON})
    assert page.status_code == 409
    assert list(factors_of(bob)) == [factor]


def test_the_mirror_of_passkeys_cannot_be_withdrawn(desk, alice, database):
    ceremonies.add_passkey(alice.signs_in(), Authenticator())
    (mirror,) = factors_of(alice)
    page = desk.post(page_of(alice), {"csrf_token": csrf_token(desk), "deed": mirror, "reason": REASON})
    assert page.status_code == 409
    assert list(factors_of(alice)) == [mirror]


@pytest.mark.parametrize("state", ["locked", "switched off"])
def test_codes_that_were_locked_or_switched_off_can_be_entered_again(desk, alice_with_totp, database, state):
    alice = alice_with_totp
    browser = alice.browser()
    alice.submits_password(browser)
    alice.forgets_used_codes()
    for nth in range(5 if state == "locked" else 1):
        alice.submits_code(browser, alice.phones[0].wrong_code(nth))
    if state == "switched off":
        database.execute("update public.mfa_attempts set since_success = 60 where user_id = %s", [alice.id])
    assert alice.submits_code(browser).status_code in (429, 403)
    text = desk.get(page_of(alice)).html.main.get_text(" ", strip=True)
    assert "locked for 15 more minutes" in text if state == "locked" else "switched off after 60 wrong ones" in text
    assert "Codes from authenticator apps can be entered again." in does(desk, alice, "codes").follow()
    alice.forgets_used_codes()
    assert alice.submits_code(browser).status_code == 303
    assert ("codes_on", {"kind": "totp", "reason": REASON}) in events_of(alice)


def test_where_nothing_is_locked_nothing_is_lifted_or_logged(desk, alice_with_totp):
    alice = alice_with_totp
    browser = alice.browser()
    alice.submits_password(browser)
    alice.submits_code(browser, alice.phones[0].wrong_code())
    page = desk.get(page_of(alice))
    assert "1 wrong since the last right one" in page
    assert "Let codes be entered again" not in page
    refused = desk.post(page_of(alice), {"csrf_token": csrf_token(desk), "deed": "codes", "reason": REASON})
    assert refused.status_code == 409
    assert "codes_on" not in [event for event, _ in events_of(alice)]


def test_lifting_one_lock_leaves_the_other_kind_as_it_is(desk, alice_with_totp, database):
    alice = alice_with_totp
    database.execute(
        "insert into public.mfa_attempts (user_id, kind, failures, since_success, locked_until)"
        " values (%(id)s, 'totp', 5, 5, now() + interval '1 hour'), (%(id)s, 'recovery_code', 1, 1, null)"
        " on conflict (user_id, kind) do update set since_success = 5, locked_until = now() + interval '1 hour'",
        {"id": alice.id},
    )
    does(desk, alice, "codes")
    assert [event for event, _ in events_of(alice)].count("codes_on") == 1
    left = database.execute("select kind, since_success from public.mfa_attempts where user_id = %s", [alice.id])
    assert {row["kind"]: row["since_success"] for row in left} == {"totp": 0, "recovery_code": 1}


def test_nobody_acts_on_the_own_account(new_admin):
    admin, browser = new_admin()
    (factor,) = factors_of(admin)
    page = browser.get(page_of(admin))
    assert "a colleague has to do" in page
    assert "deed" not in form(page, page_of(admin)).fields
    before = everything_of(admin)
    for deed in ("sessions", "codes", factor):
        answer = browser.post(page_of(admin), {"csrf_token": csrf_token(browser), "deed": deed, "reason": REASON})
        assert answer.status_code == 403
        assert alerts(answer) == ["This is your own account. Please ask a colleague to do that."]
    assert everything_of(admin) == before
    with pytest.raises(OwnAccount):
        flows(admin).end_sessions(admin.id, admin.id, REASON)


def test_what_one_deed_says_of_its_actor_is_forgotten_with_it(new_admin, alice, new_person):
    """Connections are shared: the next transaction on it must not be logged as support's."""
    _, desk = new_admin()
    alice.signs_in()
    for _ in range(5):
        does(desk, alice, "sessions")
        alice.signs_in()
    rows = alice.database.execute(
        "select actor, what from public.security_events where user_id = %s and event = 'signed_in'", [alice.id]
    )
    assert all(row == {"actor": None, "what": {"with": "password"}} for row in rows)


def test_round_trips(new_admin, alice, round_trips):
    _, desk = new_admin()
    alice.signs_in()
    searched = form(desk.get("/admin"), "/admin")
    searched["part"] = "alice"
    acted = form(desk.get(page_of(alice)), page_of(alice))
    acted["deed"], acted["reason"] = "sessions", REASON
    for ask, calls in (
        (lambda: desk.get("/admin"), ["vault_read"]),
        (searched.submit, ["vault_read", "admin_find"]),
        (lambda: desk.get(page_of(alice)), ["vault_read", "admin_person"]),
        (acted.submit, ["vault_read", "admin_end_sessions"]),
    ):
        round_trips.clear()
        ask()
        assert round_trips == [f"POST /rest/v1/rpc/{call}" for call in calls]


def flows(person):
    return person.app.extensions["stepup"].administration
