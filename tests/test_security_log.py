"""The security log: everything that happens to an account is in it, written with it, and read by its owner alone."""

import pytest

from auth.security_log import SENTENCES, entries, page_of
from tests import ceremonies
from tests.authenticator import Authenticator
from tests.mailbox import link_to
from tests.people import form
from tests.stranger import Stranger, prove_new_app
from tests.test_attacks import factors_of

LOG = "/settings/security/log"


def events_of(person):
    """Newest last: (event, what)."""
    rows = person.database.execute(
        "select event, what from public.security_events where user_id = %s order by id", [person.id]
    )
    return [(row["event"], row["what"]) for row in rows]


def names_of(person):
    return [event for event, _ in events_of(person)]


def submits_code(browser, code):
    challenge = form(browser.get("/mfa/challenge"), "/mfa/challenge/recovery-code")
    challenge["code"] = code
    return challenge.submit()


def log_on(browser):
    return [entry.p.get_text(strip=True) for entry in browser.get(LOG).html.select(".cards > li")]


def test_people_read_what_happened_newest_first(alice):
    browser = alice.signs_in()
    alice.set_up_app(browser, "Phone")
    assert log_on(browser) == ["The authenticator app “Phone” was added.", "Signed in with the password."]
    assert LOG in browser.get("/settings/security")


def test_signing_in_and_out_is_logged_with_its_session(alice, database):
    browser = alice.signs_in()
    form(browser.get("/logout"), "/logout").submit()
    rows = database.execute(
        "select event, session_id, actor from public.security_events where user_id = %s order by id", [alice.id]
    ).fetchall()
    assert [row["event"] for row in rows] == ["signed_in", "signed_out"]
    assert rows[0]["session_id"] == rows[1]["session_id"] is not None
    assert rows[0]["actor"] is None


def test_who_confirms_the_password_has_not_signed_out(alice):
    browser = alice.signs_in()
    alice.submits_password(browser)
    assert names_of(alice) == ["signed_in", "signed_in"]


def test_whoever_signs_in_over_somebody_signs_them_out(new_person):
    alice, bob = new_person(), new_person("bob")
    bob.signs_in(alice.signs_in())
    assert names_of(alice) == ["signed_in", "signed_out"]
    assert names_of(bob) == ["signed_in"]


def test_the_life_of_an_app(alice, database):
    alice.set_up_app(alice.signs_in(), "Phone")
    (factor,) = factors_of(alice)
    database.execute("update auth.mfa_factors set friendly_name = 'Tablet' where id = %s", [factor])
    database.execute("delete from public.mfa_endorsed_factors where factor_id = %s", [factor])
    database.execute("delete from auth.mfa_factors where id = %s", [factor])
    assert [event for event in events_of(alice) if event[0].startswith("app")] == [
        ("app_added", {"id": factor, "name": "Phone"}),
        ("app_renamed", {"id": factor, "name": "Tablet", "before": "Phone"}),
        ("app_removed", {"id": factor, "name": "Tablet"}),
    ]


def test_an_app_that_was_set_up_past_the_app_is_logged_too(alice, database):
    prove_new_app(database, Stranger().signs_in_as(alice))
    assert names_of(alice) == ["app_added"]  # the sign-in was Supabase's own


def test_an_unfinished_set_up_is_no_event(alice):
    browser = alice.signs_in()
    alice.begins_app(browser)
    form(browser.get("/settings/security/totp"), "/settings/security/totp/discard").submit()
    assert names_of(alice) == ["signed_in"]


def test_the_life_of_a_passkey(alice, database):
    browser, device = alice.signs_in(), Authenticator()
    ceremonies.add_passkey(browser, device)
    (passkey,) = ceremonies.passkeys_of(alice)
    path = f"{ceremonies.PASSKEYS}/{passkey['id']}"
    rename = form(browser.get(path), path)
    rename["name"] = "Key"
    rename.submit()
    for _ in range(2):
        database.execute("select public.passkey_suspect(%s)", [passkey["id"]])
    database.execute("delete from public.mfa_passkeys where id = %s", [passkey["id"]])
    about = {"id": str(passkey["id"]), "name": "Key"}
    assert events_of(alice)[1:] == [
        ("passkey_added", about | {"name": passkey["name"]}),
        ("passkey_renamed", about | {"before": passkey["name"]}),
        ("passkey_suspect", about),
        ("passkey_removed", about),
    ]
    assert "mfa/webauthn" not in str(events_of(alice))  # the mirror is nobody's app


def test_sheets_and_codes(alice):
    browser = alice.signs_in()
    alice.set_up_app(browser)
    codes = alice.makes_codes(browser)
    other = alice.browser()
    alice.submits_password(other)
    assert submits_code(other, codes[0]).status_code == 303
    other = alice.browser()
    alice.submits_password(other)
    assert submits_code(other, codes[0]).status_code == 422  # used, which is no event
    assert [event for event in events_of(alice) if event[0].startswith("code")] == [
        ("codes_made", {"label": 1}),
        ("code_used", {"label": 1, "left": 9}),
    ]
    assert all(code not in str(events_of(alice)) for code in codes)


def test_password_and_address(alice):
    browser = alice.signs_in()
    change = form(browser.get("/settings/security/password"), "/settings/security/password")
    change["password"] = "quite another horse of mine"
    change.submit()
    new = f"new-{alice.email}"
    address = form(browser.get("/account/change-email"), "/account/change-email")
    address["email"] = new
    address.submit()
    assert events_of(alice)[1:] == [("password_changed", {})]  # nothing has changed before both have confirmed
    for mailbox in (new, alice.email):
        confirm = form(browser.get(link_to(mailbox, "/auth/confirm")), "/auth/confirm")
        confirm.submit()
    assert ("address_changed", {"before": alice.email, "name": new}) in events_of(alice)
    assert f"The address was changed from {alice.email} to {new}." in log_on(browser)


def test_codes_that_guessing_has_switched_off_are_logged_once_each_time(alice_with_totp, database):
    def guessed_away():
        database.execute(
            "update public.mfa_attempts set since_success = 60, window_started = now() where user_id = %s",
            [alice_with_totp.id],
        )

    browser = alice_with_totp.browser()
    alice_with_totp.submits_password(browser)
    alice_with_totp.submits_code(browser, alice_with_totp.phones[0].wrong_code())
    guessed_away()
    for _ in range(3):
        assert alice_with_totp.submits_code(browser, alice_with_totp.phones[0].wrong_code()).status_code == 403
    assert events_of(alice_with_totp)[-1] == ("codes_off", {"kind": "totp"})
    assert names_of(alice_with_totp).count("codes_off") == 1
    guessed_away()  # again, later
    alice_with_totp.submits_code(browser, alice_with_totp.phones[0].wrong_code())
    assert names_of(alice_with_totp).count("codes_off") == 2


def test_what_is_rolled_back_was_not_logged(alice, database):
    with database.transaction(force_rollback=True):
        database.execute(
            "insert into public.mfa_recovery_sets (user_id, label, salt, parameters, pepper_id)"
            " values (%s, 1, '', '{}', '1')",
            [alice.id],
        )
        assert names_of(alice) == ["codes_made"]
    assert names_of(alice) == []


def test_a_person_who_is_deleted_takes_the_log_along(alice, alice_at_aal2, database):
    ceremonies.add_passkey(alice_at_aal2, Authenticator())
    alice.makes_codes(alice_at_aal2)
    database.execute("delete from auth.users where id = %s", [alice.id])
    assert names_of(alice) == []


def test_nobody_else_reads_it_and_nobody_writes_it(alice, alice_at_aal2, new_person):
    mallory = new_person("mallory")
    browser = mallory.signs_in()
    mallory.set_up_app(browser, "Of Mallory")
    assert "Of Mallory" not in alice_at_aal2.get(LOG)
    stranger = Stranger().signs_in_as(mallory)
    for method in ("GET", "POST", "PATCH", "DELETE"):
        answer = stranger.send(method, "rest/v1/security_events", json={"event": "x"} if method != "GET" else None)
        assert answer.status_code == 403, method
    assert stranger.post("rest/v1/rpc/log_event", p_user=alice.id, p_event="x").status_code == 403


def test_an_old_proof_has_to_be_renewed_for_it(alice, alice_at_aal2):
    alice.ages_proofs(400)
    assert alice_at_aal2.get(LOG).location.startswith("/mfa/challenge")


def test_a_flood_of_sign_ins_hides_nothing(alice, database):
    browser = alice.signs_in()
    database.execute(
        "insert into public.security_events (user_id, event, what) select %s, 'signed_in', '{\"with\": \"passkey\"}'"
        " from generate_series(1, 60)",
        [alice.id],
    )
    page = browser.get(LOG)
    assert len(page.html.select(".cards > li")) == 50
    page = page.click("What happened before that")
    assert len(page.html.select(".cards > li")) == 11
    assert "What happened before that" not in page
    assert len(page.click("The newest").html.select(".cards > li")) == 50


@pytest.mark.parametrize("before", ["x", "-1", "9" * 30, "1e3", ""])
def test_an_odd_page_is_one_page_or_another(alice, before):
    assert alice.signs_in().get(LOG, {"before": before}).status_code == 200


def test_names_are_shown_as_text(alice):
    browser = alice.signs_in()
    alice.set_up_app(browser, "<b>{event}</b>")
    page = browser.get(LOG)
    assert "&lt;b&gt;{event}&lt;/b&gt;" in page.text
    assert "<b>{event}" not in page.text


def test_every_sentence_can_be_said_whatever_is_known():
    for event in (*SENTENCES, "of a newer version"):
        row = {"id": 1, "at": 0, "event": event, "what": {}, "by_support": False, "actor": None}
        assert entries([row])[0].sentence.endswith(".")


def test_the_page_takes_two_requests_to_supabase(alice, round_trips):
    browser = alice.signs_in()
    round_trips.clear()
    browser.get(LOG)
    assert round_trips == ["POST /rest/v1/rpc/vault_read", "POST /rest/v1/rpc/log_of"]


def test_who_of_support_looked_is_told_to_support_alone(alice, new_person, database):
    admin = new_person("admin")
    database.execute(
        "insert into public.security_events (user_id, event, actor) values (%s, 'looked_at', %s)", [alice.id, admin.id]
    )
    gateway = alice.app.extensions["stepup"].gateway
    assert [(entry.by_support, entry.actor) for entry in page_of(gateway, alice.id)] == [(True, None)]
    told = "select public.log_of(%s, 50, p_for_support => true) -> 0 ->> 'actor' as actor"
    assert database.execute(told, [alice.id]).fetchone() == {"actor": admin.email}
