"""What somebody with a passkey of their own, a recorded answer, a copy of a passkey or a stolen password tries."""

import json
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import pytest

from tests.authenticator import Authenticator, to_base64url
from tests.ceremonies import (
    PASSKEYS,
    add_passkey,
    before_request,
    claims_of,
    copies_of,
    options_on,
    passkeys_of,
    sign_in,
    signals_on,
    step_up,
    submitted,
)
from tests.people import Browser, Person, alerts, asks_first, form
from tests.stranger import Stranger, grant_challenge

NOT_CHECKED = "That passkey could not be checked. Please try again."
NOT_KNOWN = "This passkey is not known here any more. Use another one, or your password."
COPIED = "There may be a copy of this passkey, so it is not accepted any more. Use another way, and replace it."


@pytest.fixture
def device():
    return Authenticator()


@pytest.fixture
def here(alice, device):
    """Alice's browser, at aal2 by her passkey."""
    browser = alice.signs_in()
    assert add_passkey(browser, device).location == "/settings/security/recovery-codes"  # of the first factor
    return browser


@pytest.fixture
def thief(alice, here):
    """A browser that somebody with Alice's password has signed in: the passkey is still to be proven."""
    browser = alice.browser()
    assert alice.submits_password(browser).location == "/account"
    return browser


@pytest.fixture
def mallory(new_person):
    return new_person("mallory")


@pytest.fixture
def mallorys(mallory):
    """Mallory's own device, with a passkey for an account of theirs."""
    device = Authenticator()
    add_passkey(mallory.signs_in(), device)
    return device


def is_outside(browser: Browser) -> bool:
    page = browser.get("/account")
    return page.location is not None and page.location.startswith(("/mfa/challenge", "/login"))


def refused(page, sentence: str = NOT_CHECKED) -> bool:
    return page.status_code == {NOT_CHECKED: 422, NOT_KNOWN: 404, COPIED: 403}[sentence] and alerts(page) == [sentence]


def everything_of(person: Person) -> dict[str, list[object]]:
    """What a ceremony could change, for good."""
    queries = {
        "passkeys": "select p::text from public.mfa_passkeys p where user_id = %s order by 1",
        "handles": "select h::text from public.webauthn_handles h where user_id = %s",
        "factors": "select f::text from auth.mfa_factors f where user_id = %s order by 1",
        "sessions": "select id, aal, factor_id from auth.sessions where user_id = %s order by 1",
        "proofs": "select c::text from auth.mfa_amr_claims c join auth.sessions s on s.id = c.session_id"
        " where s.user_id = %s order by 1",
    }
    return {what: person.database.execute(query, [person.id]).fetchall() for what, query in queries.items()}


# Somebody else's passkey


def test_a_strangers_valid_answer_to_her_challenge_does_not_step_up_her_session(alice, mallory, thief, mallorys):
    before = everything_of(alice), everything_of(mallory)
    page = thief.get("/mfa/challenge", {"next": "/account"})
    answer = mallorys.get(options_on(thief, page).json | {"allowCredentials": []})
    assert refused(submitted(page, answer))
    assert is_outside(thief)
    assert (everything_of(alice), everything_of(mallory)) == before


def test_a_stranger_who_names_her_as_the_owner_is_still_a_stranger(alice, thief, device, mallorys):
    handle = device.credentials[0].user_handle
    assert refused(sign_in(alice.browser(), mallorys, user_handle=handle))
    page = thief.get("/mfa/challenge", {"next": "/account"})
    options = options_on(thief, page).json | {"allowCredentials": []}
    assert refused(submitted(page, mallorys.get(options, user_handle=handle)))
    assert is_outside(thief)


def test_her_credential_id_under_a_strangers_signature_is_refused(alice, thief, device, mallorys):
    lies = {"posted_id": device.credentials[0].id, "user_handle": device.credentials[0].user_handle}
    assert refused(sign_in(alice.browser(), mallorys, **lies))
    page = thief.get("/mfa/challenge", {"next": "/account"})
    answer = mallorys.get(options_on(thief, page).json | {"allowCredentials": []}, **lies)
    assert refused(submitted(page, answer))
    assert is_outside(thief)
    assert not passkeys_of(alice)[0]["suspect"]  # or strangers could take it away from her


@pytest.mark.parametrize("user_handle", [None, b"", b"m" * 64, "mallory's"], ids=["missing", "empty", "odd", "another"])
def test_a_sign_in_has_to_name_the_right_owner(alice, thief, device, mallorys, user_handle):
    wrong = mallorys.credentials[0].user_handle if user_handle == "mallory's" else user_handle
    browser = alice.browser()
    assert refused(sign_in(browser, device, user_handle=wrong))
    assert is_outside(browser)
    if user_handle:
        assert refused(step_up(thief, device, user_handle=wrong))


@pytest.mark.parametrize(
    "lie",
    [
        {"origin": "https://localhost:5000.evil.test"},
        {"origin": "http://localhost:5001"},
        {"rp_id": "evil.test"},
        {"uv": False},
        {"up": False},
        {"cross_origin": True},
        {"top_origin": "https://evil.test"},
        {"type": "webauthn.create"},
        {"challenge": bytes(32)},
        {"be": True, "bs": True},
    ],
    ids=str,
)
def test_an_answer_with_one_lie_in_it_is_refused_signed_as_it_may_be(alice, thief, device, lie):
    before = everything_of(alice)
    browser = alice.browser()
    assert refused(sign_in(browser, device, **lie))
    assert is_outside(browser)
    assert refused(step_up(thief, device, **lie))
    assert everything_of(alice) == before


def test_the_host_header_makes_no_origin_ours(alice, here, device):
    """A page in the middle passes everything on, its own name included; the settings decide."""
    browser = alice.browser()
    browser.extra_environ["HTTP_HOST"] = "evil.test"
    assert refused(sign_in(browser, device, origin="http://evil.test"))
    assert refused(sign_in(browser, device, origin="http://evil.test", rp_id="evil.test"))


# Challenges


def test_a_challenge_to_register_does_not_sign_in_or_step_up(alice, here, thief, device):
    making = options_on(here, here.get(PASSKEYS), "device-form").json
    taken = {"challenge": making["challenge"], "rpId": "localhost", "allowCredentials": []}
    for browser, path in ((alice.browser(), "/login"), (here, "/login"), (thief, "/mfa/challenge")):
        page = browser.get(path, {"next": "/account"})
        options_on(browser, page)
        assert refused(submitted(page, device.get(taken)))
    assert is_outside(thief)


@pytest.mark.parametrize("path", ["/login", "/mfa/challenge"])
def test_a_challenge_to_sign_in_or_step_up_does_not_register(alice, here, device, path):
    alice.ages_proofs(100)
    asked = options_on(here, here.get(path, {"next": "/account", "action": "delete"})).json
    page = here.get(PASSKEYS)
    making = options_on(here, page, "device-form").json | {"challenge": asked["challenge"], "excludeCredentials": []}
    assert refused(submitted(page, Authenticator().create(making), "device-form"))
    assert len(passkeys_of(alice)) == 1


def test_a_challenge_to_sign_in_does_not_step_up_nor_the_reverse(alice, thief, device):
    pages = {path: thief.get(path, {"next": "/account"}) for path in ("/login", "/mfa/challenge")}
    for asked, used in (("/login", "/mfa/challenge"), ("/mfa/challenge", "/login")):
        answer = device.get(options_on(thief, pages[asked]).json)
        assert refused(submitted(pages[used], answer))
        assert is_outside(thief)


def test_a_registration_response_does_not_sign_in_and_an_assertion_does_not_register(alice, here, device):
    page = here.get(PASSKEYS)
    making = options_on(here, page, "device-form").json
    assertion = device.get({"challenge": making["challenge"], "rpId": "localhost", "allowCredentials": []})
    assert refused(submitted(page, assertion, "device-form"))
    browser = alice.browser()
    page = browser.get("/login")
    asked = options_on(browser, page).json
    made = Authenticator().create(making | {"challenge": asked["challenge"], "excludeCredentials": []})
    assert submitted(page, made).status_code == 422
    assert is_outside(browser)


def test_a_challenge_of_another_browser_does_not_sign_in(alice, here, device):
    """Else an attacker could have an answer to a challenge of their own, got from the victim, sign in the attacker."""
    victims, own = alice.browser(), alice.browser()
    answer = device.get(options_on(victims, victims.get("/login")).json)
    page = own.get("/login")
    options_on(own, page)
    assert refused(submitted(page, answer))
    assert is_outside(own)
    # It is gone for its own browser too: what was posted anywhere is known to somebody.
    assert refused(submitted(victims.get("/login"), answer))


def test_without_a_challenge_of_its_own_a_browser_signs_in_nobody(alice, here, device, app):
    """The browser id of one that never asked is empty, and so is no challenge's."""
    answer = device.get(options_on(here, here.get("/login")).json)
    browser = Browser(app)
    assert refused(submitted(browser.get("/login"), answer))


def test_a_challenge_of_another_session_does_not_step_up_nor_register(alice, here, thief, device):
    alice.ages_proofs(100)
    answer = device.get(options_on(here, here.get("/mfa/challenge", {"next": "/account", "action": "delete"})).json)
    assert refused(submitted(thief.get("/mfa/challenge", {"next": "/account"}), answer))
    assert is_outside(thief)

    other = alice.browser()
    sign_in(other, device)
    making = options_on(other, other.get(PASSKEYS), "device-form").json
    assert refused(
        submitted(here.get(PASSKEYS), Authenticator().create(making | {"excludeCredentials": []}), "device-form")
    )
    assert len(passkeys_of(alice)) == 1


def test_a_challenge_works_once(alice, here, device):
    browser = alice.browser()
    page = browser.get("/login")
    answer = device.get(options_on(browser, page).json)
    assert submitted(page, answer).location == "/account"
    form(browser.get("/logout"), "/logout").submit()
    assert refused(submitted(browser.get("/login"), answer))
    assert is_outside(browser)


def test_a_challenge_is_used_up_by_a_wrong_answer_too(alice, here, device):
    browser = alice.browser()
    page = browser.get("/login")
    options = options_on(browser, page).json
    assert refused(submitted(page, device.get(options, uv=False)))
    assert refused(submitted(page, device.get(options)))


@pytest.mark.parametrize(("seconds", "works"), [(290, True), (301, False)])
def test_a_challenge_is_good_for_five_minutes(alice, here, thief, device, database, seconds, works):
    asked = []
    for browser, path in ((alice.browser(), "/login"), (thief, "/mfa/challenge")):
        page = browser.get(path, {"next": "/account"})
        asked.append((page, options_on(browser, page).json))
    making = here.get(PASSKEYS)
    to_make = options_on(here, making, "device-form").json
    for options in (asked[0][1], asked[1][1], to_make):
        database.execute(
            "update public.webauthn_challenges set expires_at = expires_at - make_interval(secs => %s)"
            " where challenge = %s",
            [seconds, options["challenge"]],
        )
    answers = [submitted(page, device.get(options)) for page, options in asked]
    answers.append(submitted(making, Authenticator().create(to_make), "device-form"))
    assert [answer.status_code for answer in answers] == [303 if works else 422] * 3


# Many at once


def test_of_fifty_sign_ins_at_once_with_one_answer_one_opens_one_session(alice, here, device, database):
    browser = alice.browser()
    page = browser.get("/login")
    answer = device.get(options_on(browser, page).json)
    before = len(everything_of(alice)["sessions"])
    fields = dict(page.forms["passkey-form"].submit_fields()) | {"credential": answer}
    pages = at_once(copies_of(alice, browser, 50), "/login/passkey", fields)
    assert sorted(page.status_code for page in pages) == [303] + [422] * 49
    assert len(everything_of(alice)["sessions"]) == before + 1


def test_of_fifty_step_ups_at_once_with_one_answer_one_elevates(alice, thief, device):
    page = thief.get("/mfa/challenge", {"next": "/account"})
    answer = device.get(options_on(thief, page).json)
    fields = dict(page.forms["passkey-form"].submit_fields()) | {"credential": answer}
    copies = copies_of(alice, thief, 50)
    pages = at_once(copies, "/mfa/challenge/passkey", fields)
    assert [page.location for page in pages].count("/account") == 1
    assert {page.status_code for page in pages} <= {303, 422}
    inside = [copy for copy in copies if copy.get("/account").status_code == 200]
    assert len({copy.cookies["stepup"] for copy in inside}) == 1  # the others have the key of before


def test_of_fifty_registrations_at_once_with_one_answer_one_adds_a_passkey(alice, here):
    page = here.get(PASSKEYS)
    answer = Authenticator().create(options_on(here, page, "device-form").json)
    fields = dict(page.forms["device-form"].submit_fields()) | {"credential": answer}
    pages = at_once(copies_of(alice, here, 50), PASSKEYS, fields)
    assert [page.location for page in pages].count(PASSKEYS) == 1
    assert len(passkeys_of(alice)) == 2


def at_once(browsers, path, fields):
    with ThreadPoolExecutor(len(browsers)) as threads:
        return list(threads.map(lambda browser: browser.post(path, fields), browsers))


# Copies of a passkey


def test_of_two_answers_at_once_with_the_same_count_one_is_accepted(alice, here, device):
    """Both pass the check that was made before the other was booked: the database has the last word."""
    pages = []
    for copy in (device, deepcopy(device)):
        browser = alice.browser()
        page = browser.get("/login", {"next": "/account"})
        pages.append((page, copy.get(options_on(browser, page).json)))
    (first, answer), (second, other) = pages
    with before_request(alice.app, "/rest/v1/rpc/passkey_used", lambda: submitted(second, other)):
        page = submitted(first, answer)
    assert refused(page)
    assert is_outside(first.test_app)
    assert second.test_app.get("/account").status_code == 200
    (kept,) = passkeys_of(alice)
    assert kept["sign_count"] == 2
    assert len(everything_of(alice)["sessions"]) == 2  # hers, and the one that was opened: none was left behind


def test_a_copy_is_noticed_by_its_count_and_the_passkey_never_accepted_again(alice, here, device, caplog):
    spare = Authenticator(attachment="cross-platform", transports=("usb",))
    add_passkey(here, spare, form_id="key-form")
    copy = deepcopy(device)
    for _ in range(3):
        assert sign_in(alice.browser(), device).location == "/account"
    browser = alice.browser()
    assert refused(sign_in(browser, copy), COPIED)
    assert is_outside(browser)
    (kept,) = [kept for kept in passkeys_of(alice) if kept["suspect"]]
    assert kept["credential_id"] == to_base64url(device.credentials[0].id)
    assert f"passkey {kept['id']} of user {alice.id}: its counter went backwards" in caplog.text

    for copies in (device, copy):  # whichever of the two it is, and however far it has counted
        copies.credentials[0].count += 1000
        assert refused(sign_in(alice.browser(), copies), COPIED)
    alice.submits_password(browser)
    offered = options_on(browser, browser.get("/mfa/challenge")).json["allowCredentials"]
    assert [entry["id"] for entry in offered] == [to_base64url(spare.credentials[0].id)]
    assert refused(step_up(browser, device, credential=device.credentials[0]), COPIED)  # unasked
    assert is_outside(browser)

    assert step_up(browser, spare).location == "/account"
    assert sign_in(alice.browser(), spare).location == "/account"
    card = browser.get(PASSKEYS).html.select_one(f"#passkey-{kept['id']}")
    assert "There may be a copy of this passkey, so it is not accepted any more. Remove it." in card.get_text()


def test_whoever_has_no_passkey_but_a_copied_one_comes_in_by_a_recovery_code_and_replaces_it(alice, here, device):
    alice.makes_codes(here)
    copy = deepcopy(device)
    sign_in(alice.browser(), device)
    assert refused(sign_in(alice.browser(), copy), COPIED)
    browser = alice.browser()
    alice.submits_password(browser)
    refusal = options_on(browser, browser.get("/mfa/challenge"))  # to name no passkey would ask for anybody's
    assert (refusal.status_code, refusal.json) == (403, {"error": COPIED})
    assert alice.submits_recovery_code(browser, alice.codes[0]).location == "/settings/security"
    new, (suspect,) = Authenticator(), passkeys_of(alice)
    add_passkey(browser, new)
    address = f"{PASSKEYS}/{suspect['id']}"
    form(browser.get(address), f"{address}/remove").submit()
    assert sign_in(alice.browser(), new).location == "/account"
    assert browser.get("/account").status_code == 200


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_count_that_does_not_grow_is_refused_in_a_step_up_too(alice, here, thief, device, count):
    sign_in(alice.browser(), device)  # counts to 2
    assert refused(step_up(thief, device, count=count), COPIED)
    assert is_outside(thief)
    assert passkeys_of(alice)[0]["suspect"]


def test_strangers_cannot_have_a_passkey_called_a_copy(alice, here, device, mallorys):
    """Only after its signature was found good is a counter believed."""
    lies = {"posted_id": device.credentials[0].id, "user_handle": device.credentials[0].user_handle}
    assert refused(sign_in(alice.browser(), mallorys, count=0, **lies))
    assert not passkeys_of(alice)[0]["suspect"]
    assert sign_in(alice.browser(), device).location == "/account"


def test_one_that_does_not_count_is_never_called_a_copy(alice, here):
    synced = Authenticator(synced=True, counts=False)
    add_passkey(here, synced)
    for _ in range(3):
        assert sign_in(alice.browser(), synced).location == "/account"
    assert not passkeys_of(alice)[1]["suspect"]


# Passkeys that are not known


def test_a_passkey_we_do_not_know_reads_as_one_that_was_removed_and_is_to_be_forgotten(
    alice, here, device, mallorys, round_trips
):
    removed, unheard_of = device, Authenticator()
    address = f"{PASSKEYS}/{passkeys_of(alice)[0]['id']}"
    form(here.get(address), f"{address}/remove").submit()
    page = here.get(PASSKEYS)
    unheard_of.create(options_on(here, page, "device-form").json)  # its answer never arrives
    texts, costs = set(), []
    for stray in (removed, unheard_of):
        browser = alice.browser()
        page = browser.get("/login")
        answer = stray.get(options_on(browser, page).json)
        round_trips.clear()
        page = submitted(page, answer)
        costs.append(list(round_trips))
        assert refused(page, NOT_KNOWN)
        credential_id = to_base64url(stray.credentials[0].id)
        assert signals_on(page) == {"signalUnknownCredential": {"rpId": "localhost", "credentialId": credential_id}}
        texts.add(without_tokens(page).replace(credential_id, ""))
        assert is_outside(browser)
    assert len(texts) == 1

    # A known one with a wrong signature costs as much.
    browser = alice.browser()
    page = browser.get("/login")
    answer = mallorys.get(
        options_on(browser, page).json, signature=lambda signature: signature[:-1] + bytes([signature[-1] ^ 1])
    )
    round_trips.clear()
    assert refused(submitted(page, answer))
    assert [*costs, round_trips] == [["POST /rest/v1/rpc/passkey_take"]] * 3


def test_only_an_unknown_passkey_is_to_be_forgotten(alice, here, device):
    """A known one that fails for another reason must stay on the device."""
    for lie in ({"uv": False}, {"user_handle": None}, {"count": 0}):
        assert signals_on(sign_in(alice.browser(), device, **lie)) == {}


def without_tokens(page) -> str:
    for field in page.html.select("input[name=csrf_token]"):
        field["value"] = ""
    for signal in page.html.select("[data-signal]"):
        signal.decompose()
    return str(page.html.select_one("main"))


def test_a_passkey_that_is_removed_while_it_signs_in_opens_nothing(alice, here, thief, device):
    (kept,) = passkeys_of(alice)

    def removes():
        removal = "select public.passkey_remove(%s, %s, true)"
        alice.database.execute(removal, [alice.id, kept["id"]])

    browser = alice.browser()
    sessions = len(everything_of(alice)["sessions"])
    with before_request(alice.app, "/rest/v1/rpc/passkey_used", removes):
        assert refused(sign_in(browser, device))
    assert is_outside(browser)
    assert len(everything_of(alice)["sessions"]) == sessions
    assert {row["aal"] for row in everything_of(alice)["sessions"]} == {"aal1"}


def test_a_proof_that_does_not_reach_the_token_opens_nothing_and_says_so(alice, thief, device):
    """As with the hook switched off: the database knows of the proof, and Supabase's token does not."""

    def forgets():
        alice.database.execute(
            "delete from auth.mfa_amr_claims c using auth.sessions s"
            " where s.id = c.session_id and s.user_id = %s and c.authentication_method = 'mfa/webauthn'",
            [alice.id],
        )

    with before_request(alice.app, "/auth/v1/token", forgets):
        refused = step_up(thief, device)
    assert refused.status_code == 503
    assert "not set up completely" in refused
    assert thief.get("/account").location.startswith("/mfa/challenge")  # signed in as before: the tokens were kept


def test_a_session_that_ended_while_it_was_stepping_up_stays_ended(alice, thief, device):
    session_id = claims_of(alice, thief)["session_id"]

    def ends():
        alice.database.execute("delete from auth.sessions where id = %s", [session_id])

    with before_request(alice.app, "/rest/v1/rpc/passkey_used", ends):
        assert step_up(thief, device).status_code in (303, 422)
    assert thief.get("/account").location.startswith("/login")


# With the password of somebody who has only passkeys, past the app


@pytest.fixture
def stranger(alice, here):
    return Stranger().signs_in_as(alice)


def mirror_of(person: Person) -> str:
    row = person.database.execute(
        "select id::text from auth.mfa_factors where user_id = %s and factor_type = 'webauthn'", [person.id]
    ).fetchone()
    return str(row["id"])


def test_supabase_itself_keeps_the_password_alone_from_everything(alice, stranger):
    before = everything_of(alice)
    enrolment = stranger.post("auth/v1/factors", factor_type="totp", friendly_name="mine")
    assert (enrolment.status_code, enrolment.json()["error_code"]) == (403, "insufficient_aal")
    for change in ({"password": "another horse battery"}, {"email": "mallory@example.com"}):
        answer = stranger.send("PUT", "auth/v1/user", json=change)
        assert (answer.status_code, answer.json()["error_code"]) == (401, "insufficient_aal"), change
    unenrolment = stranger.send("DELETE", f"auth/v1/factors/{mirror_of(alice)}")
    assert (unenrolment.status_code, unenrolment.json()["error_code"]) == (422, "insufficient_aal")
    assert stranger.refreshes().claims["aal"] == "aal1"
    assert everything_of(alice) == before
    assert alice.signs_in()


@pytest.mark.parametrize("aal", ["aal1", "aal2"])
def test_nobody_enrols_or_answers_supabases_own_kind_of_passkey(alice, here, stranger, database, aal):
    """It is switched off: its verify would take anything for the mirror, whose credential is empty."""
    if aal == "aal2":
        stranger.token = token_of(alice, here)
    mirror = mirror_of(alice)
    before = everything_of(alice)
    enrolment = stranger.post("auth/v1/factors", factor_type="webauthn", friendly_name="mine")
    assert (enrolment.status_code, enrolment.json()["error_code"]) == (422, "mfa_webauthn_enroll_not_enabled")
    grant_challenge(database, mirror)  # and if there were a grant
    webauthn = {"webauthn": {"rpId": "localhost", "rpOrigins": ["http://localhost:5000"]}}
    challenge = stranger.post(f"auth/v1/factors/{mirror}/challenge", **webauthn)
    assert (challenge.status_code, challenge.json()["error_code"]) == (422, "mfa_webauthn_verify_not_enabled")
    made = database.execute(
        "insert into auth.mfa_challenges (id, factor_id, created_at, ip_address)"
        " values (gen_random_uuid(), %s, now(), '127.0.0.1') returning id::text",
        [mirror],
    ).fetchone()
    for body in ({"code": "000000"}, {"code": ""}, {"webauthn": {"type": "request", "credential_response": {}}}):
        answer = stranger.post(f"auth/v1/factors/{mirror}/verify", challenge_id=made["id"], **body)
        assert answer.status_code == 422, body
        assert answer.json()["error_code"].startswith("mfa_webauthn_"), body
    assert everything_of(alice) == before


def test_a_stolen_aal2_token_takes_neither_the_mirror_away_nor_adds_a_factor_that_counts(alice, here, stranger):
    stranger.token = token_of(alice, here)
    assert stranger.claims["aal"] == "aal2"
    assert stranger.send("DELETE", f"auth/v1/factors/{mirror_of(alice)}").status_code == 500
    app = stranger.enrols_app()
    assert not stranger.challenges(app["id"]).is_success
    assert Stranger().signs_in_as(alice).refreshes().claims["aal"] == "aal1"


def token_of(person: Person, browser: Browser) -> str:
    return person.app.extensions["stepup"].vault.read(browser.cookies["stepup"]).tokens.access_token


@pytest.mark.parametrize("who", ["nobody", "aal1", "aal2"])
def test_the_tables_and_functions_of_passkeys_are_shown_to_nobody(alice, here, database, who):
    token = {"nobody": None, "aal1": Stranger().signs_in_as(alice).token, "aal2": token_of(alice, here)}[who]
    caller, denied = Stranger(token=token), 401 if who == "nobody" else 403
    before = everything_of(alice)
    for table in ("mfa_passkeys", "webauthn_handles", "webauthn_challenges", "mfa_passkey_sessions"):
        for method, body in (("GET", None), ("POST", {}), ("PATCH", {}), ("DELETE", None)):
            answer = caller.send(method, f"rest/v1/{table}", json=body)
            assert (answer.status_code, answer.json()["code"]) == (denied, "42501"), (method, table)
    session = everything_of(alice)["sessions"][0]["id"]
    calls = {
        "mfa_elevate_session": {"p_session": str(session), "p_user": alice.id, "p_method": "recovery_code"},
        "passkeys_of": {"p_user": alice.id},
        "passkey_mirror": {"p_user": alice.id},
        "passkey_remove": {"p_user": alice.id, "p_passkey": str(passkeys_of(alice)[0]["id"]), "p_even_last": True},
        "passkey_suspect": {"p_passkey": str(passkeys_of(alice)[0]["id"])},
        "mfa_settle_sessions": {"p_user": alice.id},
    }
    for function, arguments in calls.items():
        answer = caller.post(f"rest/v1/rpc/{function}", **arguments)
        assert (answer.status_code, answer.json()["code"]) == (denied, "42501"), function
    assert everything_of(alice) == before


# With a stolen cookie


def test_a_stolen_cookie_without_fresh_proof_changes_no_passkey(alice, here, device):
    (kept,) = passkeys_of(alice)
    address = f"{PASSKEYS}/{kept['id']}"
    page = here.get(PASSKEYS)
    answer = Authenticator().create(options_on(here, page, "device-form").json)
    renaming, removal = form(here.get(address), address), form(here.get(address), f"{address}/remove")
    renaming["name"] = "mine now"
    alice.ages_proofs(301)
    before = everything_of(alice)
    for path in (PASSKEYS, address):
        assert here.get(path).location == f"/mfa/challenge?next={path}&action=security"
    for attempt in (submitted(page, answer, "device-form"), renaming.submit(), removal.submit()):
        assert asks_first(attempt, "/mfa/challenge")
    assert options_on(here, page, "device-form").status_code == 401
    assert everything_of(alice) == before
    assert here.get("/account").status_code == 200


def test_before_there_is_a_factor_a_cookie_needs_the_password_again(alice, device):
    browser = alice.signs_in()
    page = browser.get(PASSKEYS)
    answer = device.create(options_on(browser, page, "device-form").json)
    alice.ages_proofs(301)
    asked = submitted(page, answer, "device-form")
    assert asked.status_code == 403
    assert form(asked, "/login")["next"].value == f"{PASSKEYS}"
    assert passkeys_of(alice) == []


def test_the_password_alone_adds_renames_and_removes_no_passkey(alice, thief, device):
    (kept,) = passkeys_of(alice)
    before = everything_of(alice)
    token = form(thief.get("/logout"), "/logout")["csrf_token"].value
    for path in (PASSKEYS, f"{PASSKEYS}/options", f"{PASSKEYS}/{kept['id']}", f"{PASSKEYS}/{kept['id']}/remove"):
        page = thief.post(path, {"csrf_token": token, "name": "mine", "credential": "{}"})
        assert asks_first(page, "/mfa/challenge"), path
    assert everything_of(alice) == before


def test_somebody_elses_passkey_is_neither_shown_nor_renamed_nor_removed(alice, here, mallory):
    browser = mallory.signs_in()
    add_passkey(browser, Authenticator())
    address = f"{PASSKEYS}/{passkeys_of(alice)[0]['id']}"
    token = form(browser.get("/logout"), "/logout")["csrf_token"].value
    before = everything_of(alice)
    assert browser.get(address).status_code == 404
    for path in (address, f"{address}/remove"):
        assert browser.post(path, {"csrf_token": token, "name": "mine"}).status_code == 404
    assert everything_of(alice) == before


# Hostile answers


def honest(device: Authenticator, browser: Browser, page) -> dict:
    return json.loads(device.get(options_on(browser, page).json))


HOSTILE = {
    "nothing": "",
    "spaces": "   ",
    "no JSON": "{",
    "a number": "1",
    "null": "null",
    "a list": "[]",
    "text": '"credential"',
    "an empty object": "{}",
    "only a response": '{"response": {}}',
    "a response of another type": '{"id": "AA", "response": []}',
    "client data of another type": '{"response": {"clientDataJSON": 1}}',
    "client data that is no JSON": '{"response": {"clientDataJSON": "AAAA"}}',
    "client data that is a list": '{"response": {"clientDataJSON": "W10"}}',
    "no challenge": '{"response": {"clientDataJSON": "e30"}}',
    "a challenge of another type": '{"response": {"clientDataJSON": "eyJjaGFsbGVuZ2UiOltdfQ"}}',
    "deep JSON": "[" * 8000 + "]" * 8000,
    "deep objects": '{"a":' * 2500 + "1" + "}" * 2500,
    "an infinite number": '{"id": 1e999, "response": {"clientDataJSON": "e30"}}',
    "a long number": f'{{"id": {"9" * 5000}}}',
    "lone surrogates": '{"id": "\\ud800", "response": {"clientDataJSON": "\\udfff"}}',
    "NUL": '{"id": "\\u0000"}',
    "more than 16 KiB": json.dumps({"id": "A" * 20_000}),
    "more than 64 KiB": json.dumps({"id": "A" * 80_000}),
    "the same name twice": '{"id": "AA", "id": "BB", "response": {}}',
}


@pytest.mark.parametrize(
    ("path", "form_id"),
    [(PASSKEYS, "device-form"), ("/login", "passkey-form"), ("/mfa/challenge", "passkey-form")],
)
def test_hostile_answers_are_refused_with_a_sentence(alice, here, path, form_id):
    alice.ages_proofs(100)
    here.get("/account")
    before = everything_of(alice)
    for what, credential in HOSTILE.items():
        (browser,) = copies_of(alice, here, 1)
        page = submitted(browser.get(path, {"next": "/account", "action": "delete"}), credential, form_id)
        assert 400 <= page.status_code < 500, what
        assert alerts(page), what
        assert everything_of(alice) == before, what
    assert here.get("/account").status_code == 200


@pytest.mark.parametrize("member", ["id", "rawId", "type", "response"])
def test_an_honest_answer_with_one_odd_member_signs_nobody_in(alice, here, device, member):
    for value in (None, 1, [], {}, "", "\x00", "é", "A" * 5000, True):
        browser = alice.browser()
        page = browser.get("/login", {"next": "/account"})
        answer = honest(device, browser, page)
        page = submitted(page, json.dumps(answer | {member: value}))
        assert page.status_code in (404, 422), value
        assert alerts(page), value
        assert is_outside(browser), value


@pytest.mark.parametrize("member", ["clientExtensionResults", "authenticatorAttachment"])
def test_what_nobody_signed_for_decides_nothing(alice, here, device, member):
    for value in (None, [], {}, "", "platform", "A" * 5000):
        browser = alice.browser()
        page = browser.get("/login", {"next": "/account"})
        answer = honest(device, browser, page)
        page = submitted(page, json.dumps(answer | {member: value}))
        assert page.status_code in (303, 422), value
        assert is_outside(browser) == (page.status_code == 422)


def test_a_credential_id_that_is_sql_is_just_unknown(alice, here, device):
    for text in (b"' or true --" + bytes(10), b"*" * 30, b"%" * 30):
        assert refused(sign_in(alice.browser(), device, posted_id=text), NOT_KNOWN)


def test_refusals_say_nothing_of_what_was_posted(alice, here, device, caplog):
    browser = alice.browser()
    page = browser.get("/login")
    answer = honest(device, browser, page) | {"id": "<script>alert(1)</script>"}
    page = submitted(page, json.dumps(answer))
    assert page.status_code == 422
    assert "alert(1)" not in page
    assert "alert(1)" not in caplog.text
