"""Passkeys as people live with them: added, used to sign in and to step up, renamed, removed."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from uuid import UUID

import httpx
import pytest

from app import Settings, create_app
from tests.authenticator import AlreadyRegistered, Authenticator, from_base64url, to_base64url
from tests.ceremonies import (
    PASSKEYS,
    add_passkey,
    before_request,
    claims_of,
    options_on,
    passkeys_of,
    proofs,
    sign_in,
    signals_on,
    step_up,
    submitted,
)
from tests.mailbox import link_to
from tests.people import Browser, alerts, form
from tests.proxy import app_behind_proxy, running_proxy
from tests.stranger import Stranger

APPLE = UUID("fbfc3007-154e-4ecc-8c0b-6e020557d7bd")
NO_PROVIDER = UUID(int=1)
FIREFOX_ON_LINUX = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"


@pytest.fixture
def device():
    return Authenticator()


@pytest.fixture
def security_key():
    return Authenticator(attachment="cross-platform", transports=("usb", "nfc"))


@pytest.fixture
def here(alice, device):
    """Alice's browser, at aal2 by the passkey she has just added on this device."""
    browser = alice.signs_in()
    assert add_passkey(browser, device).location == "/settings/security/recovery-codes"  # of the first factor
    return browser


# Adding


def test_adding_a_passkey_proves_it_too_and_keeps_the_other_browsers_out(alice, device):
    browser, elsewhere = alice.signs_in(), alice.signs_in()
    before = browser.cookies["stepup"]
    page = add_passkey(browser, device).follow()
    assert "“Passkey” was added." in page
    assert claims_of(alice, browser)["aal"] == "aal2"
    assert browser.cookies["stepup"] != before
    assert elsewhere.get("/account").location.startswith("/mfa/challenge")


def test_a_new_passkey_is_named_after_its_provider_and_shows_what_it_is(alice):
    browser = alice.signs_in()
    add_passkey(browser, Authenticator(aaguid=APPLE.bytes, synced=True))
    add_passkey(browser, Authenticator(aaguid=APPLE.bytes))
    page = browser.get(PASSKEYS)
    first, second = page.html.select(".card")
    assert first.select_one("strong").get_text() == "Apple Passwords"
    assert "Synced between your devices" in first.get_text()
    assert second.select_one("strong").get_text() == "Apple Passwords 2"
    assert "On one device only" in second.get_text()
    for link in (first.select_one("source")["srcset"], first.select_one("img")["src"]):
        icon = Browser(alice.app).get(link)  # everybody may
        assert icon.content_type.startswith("image/")
        assert len(icon.body) > 100
        assert "default-src 'none'" in icon.headers["Content-Security-Policy"]
        assert "sandbox" in icon.headers["Content-Security-Policy"]


@pytest.mark.parametrize("address", [f"icons/{NO_PROVIDER}/light", f"icons/{APPLE}/blue", "icons/x/dark"])
def test_there_are_no_icons_of_unknown_providers(app, address):
    assert Browser(app).get(f"{PASSKEYS}/{address}").status_code == 404


def test_a_security_key_has_a_button_and_a_name_of_its_own(alice, security_key):
    browser = alice.signs_in()
    page = browser.get(PASSKEYS)
    options = options_on(browser, page, "key-form").json
    assert options["authenticatorSelection"]["authenticatorAttachment"] == "cross-platform"
    assert options["hints"] == ["security-key"]
    submitted(page, security_key.create(options), "key-form")
    (kept,) = passkeys_of(alice)
    assert (kept["name"], kept["attachment"], kept["transports"]) == ("Security key", "cross-platform", ["nfc", "usb"])


def test_this_device_is_asked_for_the_users_gesture_and_a_discoverable_passkey(alice):
    browser = alice.signs_in()
    options = options_on(browser, browser.get(PASSKEYS), "device-form").json
    assert options["authenticatorSelection"] == {
        "authenticatorAttachment": "platform",
        "residentKey": "required",
        "requireResidentKey": True,
        "userVerification": "required",
    }
    assert options["hints"] == ["client-device"]
    assert options["rp"] == {"id": "localhost", "name": "Stepup"}
    assert options["user"]["name"] == alice.email


def test_whoever_holds_a_role_named_in_the_settings_is_offered_the_security_key_first(alice, database):
    browser = alice.signs_in()
    assert list(first_buttons(browser)) == ["device-form", "key-form"]
    for role, first in (("editor", "device-form"), ("admin", "key-form")):
        database.execute(
            "update auth.users set raw_app_meta_data = raw_app_meta_data || jsonb_build_object('roles', %s::text[])"
            " where id = %s",
            [[role], alice.id],
        )
        alice.expires_tokens()
        assert first_buttons(browser)[0] == first


def test_the_roles_and_whom_passkeys_are_made_for_are_settings(alice):
    alice.gets_roles("editor")
    settings = Settings(
        security_key_roles=("editor",), rp_id="stepup.example", public_url="http://login.stepup.example"
    )
    alice.app = create_app(settings)
    try:
        browser = alice.signs_in()
        assert first_buttons(browser)[0] == "key-form"
        assert options_on(browser, browser.get(PASSKEYS), "key-form").json["rp"]["id"] == "stepup.example"
    finally:
        alice.app.extensions["stepup"].gateway.close()


def test_nobody_becomes_an_admin_by_saying_so(alice):
    stranger = Stranger().signs_in_as(alice)
    stranger.send("PUT", "auth/v1/user", json={"data": {"roles": ["admin"], "app_metadata": {"roles": ["admin"]}}})
    assert first_buttons(alice.signs_in())[0] == "device-form"


def first_buttons(browser):
    return [found["id"] for found in browser.get(PASSKEYS).html.select("form[data-passkey]")]


def test_the_handle_is_64_random_bytes_for_ever_and_ones_own(alice, new_person, here, device, security_key):
    add_passkey(here, security_key, form_id="key-form")
    (mine,) = {credential.user_handle for credential in device.credentials + security_key.credentials}
    assert len(mine) == 64
    bob, other = new_person("bob"), Authenticator()
    add_passkey(bob.signs_in(), other)
    assert other.credentials[0].user_handle != mine
    assert alice.id.replace("-", "") not in mine.hex()


def test_what_one_has_already_is_excluded_so_that_it_is_not_replaced(here, alice, device, security_key):
    add_passkey(here, security_key, form_id="key-form")
    options = options_on(here, here.get(PASSKEYS), "device-form").json
    assert options["excludeCredentials"] == [
        {"type": "public-key", "id": kept["credential_id"], "transports": kept["transports"]}
        for kept in passkeys_of(alice)
    ]
    assert [kept["transports"] for kept in passkeys_of(alice)] == [["internal"], ["nfc", "usb"]]
    with pytest.raises(AlreadyRegistered):
        device.create(options)


def test_a_credential_id_that_is_known_is_refused_and_its_owner_not_named(here, alice, new_person, device):
    mallory = new_person("mallory")
    stolen_id = from_base64url(passkeys_of(alice)[0]["credential_id"])
    for person, browser in ((mallory, mallory.signs_in()), (alice, here)):
        before = passkeys_of(person)
        page = add_passkey(browser, Authenticator(), credential_id=stolen_id)
        assert page.status_code == 422
        assert alerts(page) == ["This passkey cannot be added. Choose another device or security key."]
        assert passkeys_of(person) == before
    assert mallory.signs_in().get("/account").status_code == 200  # nothing was half-added
    assert sign_in(alice.browser(), device).location == "/account"


def test_twenty_is_the_most_and_of_two_at_once_one_is_the_twentieth(alice, here, device, database):
    database.execute(
        "insert into public.mfa_passkeys (user_id, credential_id, public_key, sign_count, transports, aaguid, name,"
        " backup_eligible, backed_up) select user_id, gen_random_uuid()::text, public_key, 0, transports, aaguid,"
        " 'copy ' || n, false, false from public.mfa_passkeys, generate_series(2, 19) n where user_id = %s",
        [alice.id],
    )
    elsewhere = alice.browser()
    sign_in(elsewhere, device)
    adds_another = partial(add_passkey, elsewhere, Authenticator())
    with before_request(alice.app, "/rest/v1/rpc/passkey_add", adds_another):
        assert add_passkey(here, Authenticator()).status_code == 422
    assert len(passkeys_of(alice)) == 20
    page = here.get(PASSKEYS)
    assert page.status_code == 200
    assert alerts(page) == ["Twenty is the most passkeys an account can have. Remove one you no longer use first."]
    assert add_passkey(here, Authenticator()).status_code == 422
    assert len(passkeys_of(alice)) == 20


def test_without_a_credential_the_page_says_so(here):
    page = submitted(here.get(PASSKEYS), "", "device-form")
    assert page.status_code == 422
    assert "Your browser sent no passkey. Please try again." in alerts(page)


@pytest.mark.parametrize("kind", ["server", "platform,cross-platform", "x" * 100])
def test_only_two_kinds_of_device_can_be_asked_for(alice, kind):
    browser = alice.signs_in()
    assert options_on(browser, browser.get(PASSKEYS), "device-form", kind=kind).status_code == 400


# The mirror: what Supabase and its other clients see


def test_one_factor_of_supabases_own_stands_for_all_passkeys_and_goes_with_the_last(alice, here, security_key):
    def factors():
        rows = alice.database.execute(
            "select f.id, f.status, f.web_authn_credential::text as credential, e.factor_id is not null as endorsed"
            " from auth.mfa_factors f left join public.mfa_endorsed_factors e on e.factor_id = f.id"
            " where user_id = %s and factor_type = 'webauthn'",
            [alice.id],
        )
        return rows.fetchall()

    mirror = factors()
    assert [(row["status"], row["credential"], row["endorsed"]) for row in mirror] == [("verified", "{}", True)]
    add_passkey(here, security_key, form_id="key-form")
    assert factors() == mirror
    (seen,) = Stranger().signs_in_as(alice).send("GET", "auth/v1/user").json()["factors"]
    assert (seen["factor_type"], seen["status"]) == ("webauthn", "verified")
    assert "An app on your phone shows a new code" in here.get("/settings/security")  # it is no authenticator app

    first, second = passkeys_of(alice)
    removes(here, first)
    assert factors() == mirror
    removes(here, second)
    assert factors() == []


def removes(browser, kept):
    """Remove a passkey by its page."""
    address = f"{PASSKEYS}/{kept['id']}"
    removal = form(browser.get(address), f"{address}/remove")
    removal.set("sign_out_elsewhere", False, index=0)
    return removal.submit()


# Signing in with nothing else


def test_the_options_to_sign_in_are_the_same_for_everybody(alice, here, app):
    asked = [options_on(browser, browser.get("/login")) for browser in (alice.browser(), Browser(app))]
    options = [answer.json for answer in asked]
    challenges = [from_base64url(one.pop("challenge")) for one in options]
    assert options[0] == options[1]
    assert options[0]["allowCredentials"] == []
    assert options[0]["userVerification"] == "required"
    assert options[0]["rpId"] == "localhost"
    assert [len(challenge) for challenge in challenges] == [32, 32]
    assert len(set(challenges)) == 2


def test_a_passkey_signs_in_with_one_gesture_all_the_way_to_aal2(alice, here, device):
    browser = alice.browser()
    answer = sign_in(browser, device, next="/settings/security")
    assert (answer.status_code, answer.location) == (303, "/settings/security")
    assert alice.email in browser.get("/settings/security")  # fresh proof as well
    claims = claims_of(alice, browser)
    assert (claims["aal"], claims["assurance"], claims["sub"]) == ("aal2", "stamped", alice.id)
    assert proofs(claims) == {"otp", "mfa/webauthn"}
    assert signed_in_with(alice, browser) == "passkey"


@pytest.mark.parametrize("next", ["//evil.test", "https://evil.test/", "/\\evil.test"])
def test_signing_in_leads_only_to_pages_of_this_site(alice, here, device, next):
    assert sign_in(alice.browser(), device, next=next).location == "/account"


def test_it_is_still_aal2_after_five_refreshes_and_after_another_device_proved_an_app(alice, here, device):
    browser = alice.browser()
    sign_in(browser, device)
    elsewhere, thief = alice.signs_in(), Stranger().signs_in_as(alice)
    step_up(elsewhere, device)
    alice.set_up_app(elsewhere)
    proven_at = {entry["timestamp"] for entry in claims_of(alice, browser)["amr"]}
    for _ in range(5):
        alice.expires_tokens()
        claims = claims_of(alice, browser)
        assert (claims["aal"], proofs(claims)) == ("aal2", {"otp", "mfa/webauthn"})
        assert {entry["timestamp"] for entry in claims["amr"]} == proven_at  # a refresh is no proof
    assert column_of(alice, browser) == "aal2"
    assert thief.post("auth/v1/token?grant_type=refresh_token", refresh_token=thief.refresh_token).status_code == 400


def test_when_it_was_last_used_and_with_what_is_shown_to_its_owner(alice, here, device):
    assert "Not used yet" in here.get(PASSKEYS)
    browser = alice.browser()
    browser.extra_environ["HTTP_USER_AGENT"] = FIREFOX_ON_LINUX
    sign_in(browser, device)
    assert "Last used" in browser.get(PASSKEYS)
    assert "with Firefox on Linux" in browser.get(PASSKEYS)


@pytest.mark.parametrize("agent", ["", "x", "Mozilla/5.0 (" + "A" * 10_000 + ")", "\t<script>"])
def test_a_browser_that_does_not_say_what_it_is_gets_in_too(alice, here, device, agent):
    browser = alice.browser()
    browser.extra_environ["HTTP_USER_AGENT"] = agent
    sign_in(browser, device)
    assert "an unknown browser" in browser.get(PASSKEYS)


def test_a_passkey_that_came_to_be_synced_says_so(alice, here):
    device = Authenticator(synced=True)
    add_passkey(here, device, bs=False)
    assert passkeys_of(alice)[1]["backed_up"] is False
    assert sign_in(alice.browser(), device).location == "/account"
    assert passkeys_of(alice)[1]["backed_up"] is True


def test_a_passkey_of_a_related_site_signs_in_here(alice, here, device):
    other = "https://other.example"
    app = create_app(Settings(related_origins=(other,)))
    try:
        browser = Browser(app)
        assert sign_in(browser, device, origin=other).location == "/account"
        assert sign_in(alice.browser(), device, origin=other).status_code == 422  # where it is not related
    finally:
        app.extensions["stepup"].gateway.close()


def test_what_the_browser_held_before_ends_with_the_sign_in(alice, new_person, here, device):
    browser = new_person("bob").signs_in()
    replaced = {cookie.name: cookie.value for cookie in browser.cookiejar}
    assert sign_in(browser, device).location == "/account"
    assert alice.email in browser.get("/settings/security")
    again = alice.browser()
    again.set_cookie("stepup", replaced["stepup"])
    assert again.get("/account").location.startswith("/login")


# Mail links and sign-ins of the same person, at the same time


def test_two_sign_ins_of_one_person_at_once_both_succeed(alice, here, device, security_key):
    """Supabase keeps one link per person: the later one kills the earlier before it was used."""
    add_passkey(here, security_key, form_id="key-form")
    browsers = [alice.browser() for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        pages = list(threads.map(sign_in, browsers, [device, security_key]))
    assert [page.location for page in pages] == ["/account"] * 2
    assert [claims_of(alice, browser)["aal"] for browser in browsers] == ["aal2"] * 2


@pytest.mark.parametrize(("times", "status"), [(1, 303), (4, 303), (5, 422)])
def test_a_link_that_was_overwritten_is_made_again_four_times(alice, here, device, times, status):
    browser = alice.browser()
    with before_request(alice.app, "/auth/v1/verify", lambda: makes_a_link(alice), times=times):
        page = sign_in(browser, device)
    assert page.status_code == status
    if status == 422:
        assert alerts(page) == ["That passkey could not be checked. Please try again."]
        assert browser.get("/account").location.startswith("/login")
        assert sign_in(browser, device).location == "/account"


def makes_a_link(person, kind="magiclink"):
    return httpx.post(
        f"{os.environ['SUPABASE_URL']}/auth/v1/admin/generate_link",
        headers={"apikey": os.environ["SUPABASE_SECRET_KEY"]},
        json={"type": kind, "email": person.email},
    ).raise_for_status()


def test_a_reset_link_dies_when_a_passkey_signs_in_and_its_page_says_so_and_offers_a_new_one(alice, here, device):
    asks_for_reset(alice)
    link = link_to(alice.email, "/reset-password")
    assert sign_in(alice.browser(), device).location == "/account"
    page = form(alice.browser().get(link).follow(), "/auth/confirm").submit()
    assert page.status_code == 422
    assert "or when you signed in with a passkey meanwhile" in page
    assert page.html.select_one("a[href='/forgot-password']")

    alice.database.execute("update auth.users set recovery_sent_at = null where id = %s", [alice.id])  # time passes
    asks_for_reset(alice)
    browser = alice.browser()
    page = form(browser.get(link_to(alice.email, "/reset-password")).follow(), "/auth/confirm").submit()
    assert page.location == "/settings/security/password"
    assert page.follow().location.startswith("/mfa/challenge")  # a mailbox is not a passkey


def asks_for_reset(person):
    asked = form(person.browser().get("/forgot-password"), "/forgot-password")
    asked["email"] = person.email
    assert asked.submit().status_code == 200


def test_a_strangers_reset_requests_never_keep_the_owner_out(alice, here, device):
    for _ in range(3):
        asks_for_reset(alice)
        assert sign_in(alice.browser(), device).location == "/account"
    with before_request(alice.app, "/auth/v1/admin/generate_link", lambda: asks_for_reset(alice)):
        assert sign_in(alice.browser(), device).location == "/account"


# Whom a passkey does not sign in


@pytest.mark.parametrize("whose", ["nobody's", "Mallory's"])
def test_an_address_that_changed_meanwhile_signs_in_nobody(alice, new_person, here, device, database, whose):
    """The link is asked for by address; Supabase would make an account for one that nobody has."""
    mallory = new_person("mallory")
    moved = f"moved-{alice.email}"

    def changes_address():
        database.execute("update auth.users set email = %s where id = %s", [moved, alice.id])
        if whose == "Mallory's":
            database.execute("update auth.users set email = %s where id = %s", [alice.email, mallory.id])

    browser = alice.browser()
    with before_request(alice.app, "/auth/v1/admin/generate_link", changes_address):
        page = sign_in(browser, device)
    assert page.status_code == 422
    assert browser.get("/account").location.startswith("/login")
    never = database.execute("select from auth.users where id = %s and last_sign_in_at is null", [mallory.id])
    assert never.rowcount == 1  # not even for a moment
    assert sign_in(browser, device).location == "/account"
    assert claims_of(alice, browser)["email"] == moved


@pytest.mark.parametrize(
    "state",
    ["email_confirmed_at = null", "banned_until = now() + interval '1 hour'"],
    ids=["unconfirmed", "banned"],
)
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_an_account_that_may_not_sign_in_does_not_by_passkey_either(
    alice, here, device, database, round_trips, state, when
):
    before = sessions(alice)
    confirmed = database.execute("select email_confirmed_at as at from auth.users where id = %s", [alice.id]).fetchone()

    def change():
        database.execute(f"update auth.users set {state} where id = %s", [alice.id])

    browser = alice.browser()
    if when == "before":
        change()
        page = sign_in(browser, device)
        assert not [asked for asked in round_trips if "generate_link" in asked]  # it would end the owner's mail links
    else:
        with before_request(alice.app, "/auth/v1/admin/generate_link", change):
            page = sign_in(browser, device)
    assert page.status_code == 422
    assert browser.get("/account").location.startswith("/login")
    assert sessions(alice) == before
    database.execute(
        "update auth.users set email_confirmed_at = %s, banned_until = null where id = %s", [confirmed["at"], alice.id]
    )
    assert sign_in(browser, device).location == "/account"


def test_a_ban_that_is_over_is_over(alice, here, device, database):
    database.execute(
        "update auth.users set banned_until = now() - interval '1 second' where id = %s",
        [alice.id],
    )
    assert sign_in(alice.browser(), device).location == "/account"


# Stepping up


def test_after_the_password_the_passkey_is_asked_for_and_offered_first(alice, here, device):
    alice.set_up_app(here)
    browser = alice.browser()
    challenge = alice.submits_password(browser).follow().follow()
    assert [found["action"] for found in challenge.html.select("form")] == [
        "/mfa/challenge/passkey",
        "/mfa/challenge",
        "/mfa/challenge/recovery-code",
    ]
    options = options_on(browser, challenge).json
    assert [one["id"] for one in options["allowCredentials"]] == [passkeys_of(alice)[0]["credential_id"]]
    assert options["userVerification"] == "required"
    before = browser.cookies["stepup"]
    assert submitted(challenge, device.get(options)).location == "/account"
    assert browser.get("/account").status_code == 200
    claims = claims_of(alice, browser)
    assert (claims["aal"], proofs(claims)) == ("aal2", {"password", "mfa/webauthn"})
    assert browser.cookies["stepup"] != before


def test_stepping_up_leads_back_to_where_one_was_going(alice, here, device):
    alice.ages_proofs(301)
    challenge = here.get("/settings/security")
    assert challenge.location == "/mfa/challenge?next=/settings/security&action=security"
    page = challenge.follow()
    assert submitted(page, device.get(options_on(here, page).json)).location == "/settings/security"
    assert here.get("/settings/security").status_code == 200


def test_a_passkey_is_fresh_for_300_seconds(alice, here, device):
    alice.ages_proofs(280)
    assert here.get(PASSKEYS).status_code == 200
    alice.ages_proofs(20)
    assert here.get(PASSKEYS).location == f"/mfa/challenge?next={PASSKEYS}&action=security"
    assert here.get("/account").status_code == 200
    step_up(here, device)
    assert here.get(PASSKEYS).status_code == 200


def test_with_app_and_passkey_either_will_do(alice, here, device):
    alice.set_up_app(here)
    for prove in (lambda browser: step_up(browser, device), alice.submits_code):
        alice.forgets_used_codes()
        browser = alice.browser()
        alice.submits_password(browser)
        assert prove(browser).location == "/account"
        assert browser.get("/account").status_code == 200


def test_a_passkey_that_names_no_owner_steps_up_but_does_not_sign_in(alice, here, device):
    """Only a discoverable one has to name whom it belongs to (WebAuthn 7.2 step 6)."""
    browser = alice.browser()
    alice.submits_password(browser)
    assert step_up(browser, device, user_handle=None).location == "/account"
    assert sign_in(alice.browser(), device, user_handle=None).status_code == 422


def test_a_token_that_runs_out_during_the_gesture_costs_nothing_but_a_refresh(alice, here, device, round_trips):
    browser = alice.browser()
    page = alice.submits_password(browser).follow().follow()
    answer = device.get(options_on(browser, page).json)
    alice.expires_tokens()
    round_trips.clear()
    assert submitted(page, answer).location == "/account"
    assert round_trips.count("POST /auth/v1/token") == 2
    assert claims_of(alice, browser)["aal"] == "aal2"


def test_while_another_request_rotates_the_tokens_a_step_up_waits_and_keeps_its_challenge(alice, here, device):
    browser = alice.browser()
    page = alice.submits_password(browser).follow().follow()
    answer = device.get(options_on(browser, page).json)
    vault = alice.app.extensions["stepup"].vault
    rotating = vault.read(browser.cookies["stepup"], lease=True)
    with ThreadPoolExecutor(1) as thread:
        stepped_up = thread.submit(submitted, page, answer)
        time.sleep(0.3)
        assert not stepped_up.done()
        vault.store(rotating, alice.app.extensions["stepup"].gateway.refresh(rotating.tokens.refresh_token))
        assert stepped_up.result(timeout=10).location == "/account"
    assert claims_of(alice, browser)["aal"] == "aal2"


@pytest.mark.parametrize("path", ["/login/passkey", "/mfa/challenge/passkey", PASSKEYS])
def test_options_come_from_a_post_alone(app, path):
    assert Browser(app).get(f"{path}/options").status_code in (404, 405)  # PASSKEYS/<uuid> takes no such address


def test_a_script_that_asks_too_late_is_told_where_to_go(alice, here, device):
    page, challenge = here.get(PASSKEYS), here.get("/mfa/challenge", {"next": "/account"})
    alice.ages_proofs(400)
    late = options_on(here, page, "device-form")
    asked = "/mfa/challenge?next=/settings/security/passkeys&action=add-factor"
    assert (late.status_code, late.json) == (401, {"location": asked})
    assert challenge.location == "/account"  # proven a moment ago

    page = here.get("/mfa/challenge", {"next": "/account", "action": "security"})
    alice.database.execute("delete from auth.sessions where user_id = %s", [alice.id])
    gone = options_on(here, page)
    assert (gone.status_code, gone.json) == (401, {"location": "/login?next=/mfa/challenge"})


# Made without a gesture


@pytest.fixture
def offered(alice):
    """Alice's browser with an app and no passkey, after password and code: the page that offers the upgrade."""
    alice.set_up_app(alice.signs_in())
    alice.forgets_used_codes()
    browser = alice.browser()
    alice.submits_password(browser)
    return browser, alice.submits_code(browser).follow()


@pytest.mark.parametrize("flags", [{}, {"uv": False}, {"up": False, "uv": False}], ids=["both", "no UV", "neither"])
def test_a_password_manager_may_add_a_passkey_which_proves_nothing_yet(alice, offered, device, flags):
    browser, page = offered
    options = options_on(browser, page, "upgrade").json
    assert options["authenticatorSelection"]["userVerification"] == "preferred"
    before = proofs(claims_of(alice, browser))
    answer = submitted(page, device.create(options, **flags), "upgrade")
    assert answer.location == "/account"  # back to where it happened
    assert "was added" in answer.follow()
    assert proofs(claims_of(alice, browser)) == before == {"password", "totp"}
    assert sign_in(alice.browser(), device, uv=False).status_code == 422
    assert sign_in(alice.browser(), device).location == "/account"


@pytest.mark.parametrize("flags", [{"uv": False}, {"up": False}], ids=str)
def test_without_the_servers_own_mark_a_gesture_is_needed(alice, offered, device, flags):
    """Whoever posts `conditional` with the answer marks nothing: the options decide."""
    browser, page = offered
    options = options_on(browser, page, "upgrade", conditional="").json
    page.forms["upgrade"]["conditional"] = "1"
    assert submitted(page, device.create(options, **flags), "upgrade").status_code == 422
    assert passkeys_of(alice) == []


def test_the_upgrade_is_offered_once_and_only_to_whoever_has_no_passkey(alice, offered, device):
    browser, page = offered
    assert "upgrade" in page.forms
    assert "upgrade" not in browser.get("/account").forms
    add_passkey(browser, device)
    alice.forgets_used_codes()
    other = alice.browser()
    alice.submits_password(other)
    assert "upgrade" not in alice.submits_code(other).follow().forms


# Renaming and removing


def test_a_passkey_is_renamed_in_place(alice, here):
    card = next(form for form in here.get(PASSKEYS).forms.values() if "name" in form.fields)
    card["name"] = "In my pocket"
    assert "In my pocket" in card.submit().follow()


def test_a_passkey_is_renamed(alice, here):
    (kept,) = passkeys_of(alice)
    address = f"{PASSKEYS}/{kept['id']}"
    link = here.get(PASSKEYS).html.select_one(".card a")
    assert link["href"] == address
    naming = form(here.get(address), address)
    assert naming["name"].value == "Passkey"
    naming["name"] = "  My \t blue   <laptop> "
    assert naming.submit().location == PASSKEYS
    assert here.get(PASSKEYS).html.select_one(".card strong").get_text() == "My blue <laptop>"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("", "Give the passkey a name."), (" \t ", "Give the passkey a name."), ("x" * 65, "Use at most 64 characters.")],
)
def test_a_name_that_will_not_do_gets_a_sentence(alice, here, name, sentence):
    address = f"{PASSKEYS}/{passkeys_of(alice)[0]['id']}"
    naming = form(here.get(address), address)
    naming["name"] = name
    page = naming.submit()
    assert page.status_code == 422
    assert sentence in page
    assert passkeys_of(alice)[0]["name"] == "Passkey"


def test_removing_the_last_passkey_takes_aal2_away_at_the_next_refresh(alice, here, device):
    elsewhere = alice.browser()
    sign_in(elsewhere, device)
    page = here.get(f"{PASSKEYS}/{passkeys_of(alice)[0]['id']}")
    assert "your only second factor" in page
    assert "was removed" in removes(here, passkeys_of(alice)[0]).follow()
    for browser in (here, elsewhere):
        claims = claims_of(alice, browser)
        assert (claims["aal"], proofs(claims) & {"mfa/webauthn"}) == ("aal1", set())
        assert column_of(alice, browser) == "aal1"
        assert browser.get("/account").status_code == 200  # the password is all there is
    page = sign_in(alice.browser(), device)
    assert page.status_code == 404
    assert alice.submits_password(alice.browser()).follow().status_code == 200


def test_removing_one_of_two_asks_only_the_sessions_that_it_had_opened(alice, here, device, security_key):
    add_passkey(here, security_key, form_id="key-form")
    by_device, by_key = alice.browser(), alice.browser()
    sign_in(by_device, device)
    sign_in(by_key, security_key)
    removes(here, passkeys_of(alice)[0])
    assert by_key.get("/account").status_code == 200
    assert here.get("/account").status_code == 200  # it had proven the key last
    assert by_device.get("/account").location.startswith("/mfa/challenge")
    assert step_up(by_device, security_key).location == "/account"


def test_a_session_proven_with_an_app_too_outlives_the_passkey(alice, here, device):
    alice.set_up_app(here)
    removes(here, passkeys_of(alice)[0])
    claims = claims_of(alice, here)
    assert (claims["aal"], proofs(claims)) == ("aal2", {"password", "totp"})


def test_removing_a_passkey_that_is_gone_already_says_so(alice, here, security_key):
    add_passkey(here, security_key, form_id="key-form")
    address = f"{PASSKEYS}/{passkeys_of(alice)[0]['id']}"
    twice = form(here.get(address), f"{address}/remove")
    twice.submit()
    page = twice.submit()
    assert page.status_code == 404
    assert "not known here any more" in page


# What the browser is to tell its authenticators


def test_before_the_first_ceremony_there_is_nothing_to_tell(alice):
    browser = alice.signs_in()
    assert signals_on(browser.get(PASSKEYS)) == signals_on(browser.get("/settings/security")) == {}


def test_the_authenticators_are_told_which_passkeys_there_are_and_whose(alice, here, device, security_key):
    add_passkey(here, security_key, form_id="key-form")
    handle = to_base64url(device.credentials[0].user_handle)
    told = {"rpId": "localhost", "userId": handle}
    names = {"signalCurrentUserDetails": told | {"name": alice.email, "displayName": alice.email}}
    for kept in (passkeys_of(alice), passkeys_of(alice)[1:], []):
        ids = {"allAcceptedCredentialIds": [one["credential_id"] for one in kept]}
        for page in (PASSKEYS, "/settings/security"):
            assert signals_on(here.get(page)) == {"signalAllAcceptedCredentials": told | ids, **names}
        if kept:
            removes(here, passkeys_of(alice)[0])


def test_after_a_change_of_address_they_are_told_the_new_one(alice, here, database):
    database.execute("update auth.users set email = 'new-' || email where id = %s", [alice.id])
    alice.expires_tokens()
    assert signals_on(here.get(PASSKEYS))["signalCurrentUserDetails"]["name"] == f"new-{alice.email}"


# For machines


def test_the_addresses_that_password_managers_look_for(app):
    browser = Browser(app)
    answer = browser.get("/.well-known/passkey-endpoints")
    page = f"http://localhost:5000{PASSKEYS}"
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert answer.json == {"enroll": page, "manage": page}
    assert browser.get("/.well-known/webauthn").status_code == 404
    assert browser.get("/.well-known/change-password").location == "/settings/security/password"


def test_related_origins_are_published_where_they_are_set():
    app = create_app(Settings(related_origins=("https://one.example", "https://two.example")))
    try:
        answer = Browser(app).get("/.well-known/webauthn")
        assert (answer.status_code, answer.content_type) == (200, "application/json")
        assert answer.json == {"origins": ["https://one.example", "https://two.example"]}
    finally:
        app.extensions["stepup"].gateway.close()


# When Supabase is away in the middle of it


@pytest.fixture(scope="module")
def proxy():
    with running_proxy() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def stormy_app(proxy):
    app = app_behind_proxy(proxy.url)
    yield app
    app.extensions["stepup"].gateway.close()


TROUBLES = ["cut", "lost", "broken"]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_sign_in_that_breaks_off_anywhere_signs_nobody_in_and_can_be_tried_again(
    new_person, stormy_app, proxy, device, trouble
):
    alice = new_person(app=stormy_app)
    add_passkey(alice.signs_in(), device)
    for path in ("passkey_take", "generate_link", "/verify", "passkey_used", "/token", "vault_open"):
        browser = alice.browser()
        page = browser.get("/login", {"next": "/account"})
        answer = device.get(options_on(browser, page).json)
        proxy.upset(path, trouble)
        assert submitted(page, answer).status_code == 503, path
        assert browser.get("/account").location.startswith("/login"), path
        assert sign_in(browser, device).location == "/account", path
        assert claims_of(alice, browser)["aal"] == "aal2", path


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_step_up_that_breaks_off_anywhere_signs_nobody_out_and_can_be_tried_again(
    new_person, stormy_app, proxy, device, trouble
):
    alice = new_person(app=stormy_app)
    add_passkey(alice.signs_in(), device)
    for path in ("vault_read_and_take", "passkey_used", "/token"):
        browser = alice.browser()
        page = alice.submits_password(browser).follow().follow()
        answer = device.get(options_on(browser, page).json)
        proxy.upset(path, trouble)
        assert submitted(page, answer).status_code == 503, path
        assert browser.get("/account").location.startswith("/mfa/challenge"), path
        if path == "vault_read_and_take" and trouble == "lost":  # nobody knows that they hold the lease: it runs out
            expired = "update public.web_account_sessions set lease_until = now() where user_id = %s"
            alice.database.execute(expired, [alice.id])
        assert step_up(browser, device).location == "/account", path
        assert browser.get("/account").status_code == 200


@pytest.mark.parametrize("trouble", TROUBLES)
def test_adding_a_passkey_that_breaks_off_anywhere_leaves_one_or_none(new_person, stormy_app, proxy, trouble):
    alice = new_person(app=stormy_app)
    browser = alice.signs_in()
    for path in ("passkey_take", "passkey_add", "/token"):
        device, before = Authenticator(), len(passkeys_of(alice))
        page = browser.get(PASSKEYS)
        answer = device.create(options_on(browser, page, "device-form").json)
        proxy.upset(path, trouble)
        assert submitted(page, answer, "device-form").status_code == 503, path
        kept = path == "/token" or (path == "passkey_add" and trouble == "lost")
        assert len(passkeys_of(alice)) == before + kept, path
        if browser.get(PASSKEYS).status_code == 303:  # it was not proven yet, as far as the browser's token says
            assert kept, path
            assert step_up(browser, device).location == "/account", path
        assert browser.get(PASSKEYS).status_code == 200, path


# What it costs


def test_signing_in_with_a_passkey_takes_six_requests_to_supabase(alice, here, device, round_trips):
    browser = alice.browser()
    page = browser.get("/login")
    answer = device.get(options_on(browser, page).json)
    round_trips.clear()
    assert submitted(page, answer).location == "/account"
    assert len(round_trips) == 6, round_trips


def test_stepping_up_with_a_passkey_takes_four_requests_to_supabase(alice, here, device, round_trips):
    browser = alice.browser()
    alice.submits_password(browser)
    page = browser.get("/mfa/challenge", {"next": "/account"})
    answer = device.get(options_on(browser, page).json)
    round_trips.clear()
    assert submitted(page, answer).location == "/account"
    assert len(round_trips) == 4, round_trips


def sessions(person):
    return person.database.execute(
        "select id, aal from auth.sessions where user_id = %s order by id", [person.id]
    ).fetchall()


def account_row(person, browser):
    session_id = claims_of(person, browser)["session_id"]
    return person.database.execute(
        "select a.signed_in_with, s.aal from public.web_account_sessions a join auth.sessions s on s.id = a.session_id"
        " where s.id = %s",
        [session_id],
    ).fetchone()


def signed_in_with(person, browser):
    return account_row(person, browser)["signed_in_with"]


def column_of(person, browser):
    return account_row(person, browser)["aal"]
