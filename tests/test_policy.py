"""MFA_POLICY, roles and MFA_ENABLED, over HTTP: who is led to enrol, and back, and who is left in peace."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from app import Settings, create_app
from tests.authenticator import Authenticator
from tests.ceremonies import PASSKEYS, add_passkey, options_on, submitted
from tests.people import form

SECURITY = "/settings/security"
APPS = "/settings/security/totp"
CODES = "/settings/security/recovery-codes"


@pytest.fixture(scope="module")
def app_with():
    """Make an app with these settings; the same ones get the same app."""
    made = {}

    def make(**settings):
        key = tuple(sorted(settings.items()))
        return made.setdefault(key, create_app(Settings(**settings)) if key not in made else None)

    yield make
    for app in made.values():
        app.extensions["stepup"].gateway.close()


@pytest.fixture
def person(new_person, app_with):
    return lambda **settings: new_person(app=app_with(**settings))


def follows_to_first_factor(browser, path):
    """Ask for a page that takes a factor, and open the page of Security that it leads to."""
    led = browser.get(path).location
    assert urlsplit(led).path == SECURITY
    assert parse_qs(urlsplit(led).query)["next"] == [path]
    return browser.get(led)


def test_required_leads_to_a_first_app_to_codes_and_back(person):
    alice = person(mfa_policy="required")
    browser = alice.signs_in()
    page = follows_to_first_factor(browser, "/account")
    assert "You need a second factor to read and write your notes." in page.html.main.get_text()
    naming = form(page.click("Set up an authenticator app"), APPS)
    page = naming.submit().follow()
    alice.phones.append(phone := alice.phone_of(page))
    finish = form(page, f"{APPS}/verify")
    finish["code"] = phone.code()
    codes = finish.submit().follow()
    sheet = form(codes, CODES).submit()
    confirm = form(sheet, f"{CODES}/confirm")
    confirm["code"] = sheet.html.select_one("#codes").get_text().split()[0]
    assert confirm.submit().location == "/account"
    assert browser.get("/account").status_code == 200


def test_required_leads_to_a_first_passkey_and_back(person):
    alice = person(mfa_policy="required")
    browser = alice.signs_in()
    page = follows_to_first_factor(browser, "/account").click("Add a passkey")
    device = Authenticator("http://localhost:5000")
    added = submitted(page, device.create(options_on(browser, page, "device-form").json), "device-form")
    assert added.location == f"{CODES}?next=/account"
    assert added.follow().html.find("a", string="Later")["href"] == "/account"
    assert browser.get("/account").status_code == 200


def test_required_asks_nothing_new_of_who_has_a_factor(person):
    alice = person(mfa_policy="required")
    browser = alice.signs_in()
    alice.set_up_app(browser)
    assert browser.get("/account").status_code == 200


def test_required_keeps_the_last_factor(person):
    alice = person(mfa_policy="required")
    browser = alice.signs_in()
    add_passkey(browser, Authenticator("http://localhost:5000"))
    (passkey,) = alice.database.execute("select id from public.mfa_passkeys where user_id = %s", [alice.id])
    address = f"{SECURITY}/passkeys/{passkey['id']}"
    csrf_token = form(browser.get(address), address)["csrf_token"].value
    refused = browser.post(f"{address}/remove", {"csrf_token": csrf_token})
    assert refused.status_code == 409
    assert "once you have another one" in refused


@pytest.mark.parametrize("kind", ["app", "passkey"])
def test_required_offers_no_removal_of_the_last_factor_and_forecasts_none(person, kind):
    alice = person(mfa_policy="required")
    browser = alice.signs_in()
    if kind == "app":
        alice.set_up_app(browser)
        button, back = "Remove", SECURITY
    else:
        add_passkey(browser, Authenticator("http://localhost:5000"))
        button, back = "Change", PASSKEYS
    page = browser.get(SECURITY).click(f"^{button}$")
    assert "this is your last one. It can be removed once you have another one." in page
    assert "your password alone signs in" not in page
    assert not page.html.find("button", string=re.compile("Remove"))
    assert page.html.main.find("a", href=back)


@pytest.mark.parametrize(("role", "status"), [("admin", 303), ("clerk", 200)])
def test_a_role_raises_the_demand(person, role, status):
    alice = person(mfa_policy="optional", mfa_required_roles="admin,owner")
    alice.gets_roles(role)
    assert alice.signs_in().get("/account").status_code == status


def test_roles_that_people_gave_themselves_are_none(person):
    alice = person(mfa_required_roles="admin")
    alice.database.execute(
        'update auth.users set raw_user_meta_data = \'{"roles": ["admin"]}\' where id = %s', [alice.id]
    )
    assert alice.signs_in().get("/account").status_code == 200


def test_switched_off_nobody_sets_up_anything_and_who_has_a_factor_is_asked_for_it(person, new_person):
    alice = new_person()
    alice.set_up_app(alice.signs_in())
    alice.app = person(mfa_enabled=False).app
    alice.forgets_used_codes()
    browser = alice.browser()
    alice.submits_password(browser)
    assert browser.get("/account").location.startswith("/mfa/challenge")
    alice.submits_code(browser)
    assert browser.get("/account").status_code == 200
    security = browser.get(SECURITY)
    assert security.status_code == 200
    assert not security.html.find("a", string="Add another app")
    refused = browser.get(APPS)
    assert refused.status_code == 403
    assert "switched off at the moment" in refused
    assert "What happens next" not in alice.browser().get("/")


@pytest.mark.parametrize("has_factor", [False, True])
@pytest.mark.parametrize("path", ["/account", SECURITY, PASSKEYS])
def test_switched_off_no_page_recommends_what_cannot_be_set_up(new_person, app_with, path, has_factor):
    alice = new_person()
    browser = alice.signs_in()
    if has_factor:
        alice.set_up_app(browser)
    browser.app = app_with(mfa_enabled=False)
    page = browser.get(path)
    text = " ".join(page.html.main.get_text(" ", strip=True).split())
    assert not re.search(r"(?i)add (a|another) |set up (a|an|one)\b|with a passkey or|safest|a second app on", text)
    if path != "/account" or not has_factor:
        assert text.count("Setting up second factors is switched off at the moment.") == 1
    browser.app = alice.app
    assert "switched off at the moment" not in browser.get(path)


def test_switched_off_and_required_says_so_instead_of_leading_in_circles(person):
    browser = person(mfa_enabled=False, mfa_policy="required").signs_in()
    refused = browser.get("/account")
    assert refused.status_code == 403
    assert "switched off at the moment" in refused
    assert browser.get(SECURITY).status_code == 200


def test_an_enrolment_that_was_begun_before_is_not_finished_after(alice, person):
    browser = alice.signs_in()
    phone = alice.begins_app(browser)
    finish = form(browser.get(APPS), f"{APPS}/verify")
    alice.app = person(mfa_enabled=False).app
    browser.app = alice.app
    finish["code"] = phone.code()
    assert finish.submit().status_code == 403


# The prompt of MFA_POLICY=encouraged


def prompt(page):
    return page.html.select_one("#encouragement")


def test_encouraged_asks_and_can_be_sent_away_for_fourteen_days(person, database):
    alice = person(mfa_policy="encouraged")
    browser = alice.signs_in()
    page = browser.get("/account")
    assert "second factor" in prompt(page).get_text()
    assert form(page, "/settings/security/not-now").submit().location == "/account"
    assert prompt(browser.get("/account")) is None
    assert prompt(alice.signs_in().get("/account")) is None  # on other devices, too
    alice.lets_days_pass_since_prompt(13)
    assert prompt(browser.get("/account")) is None
    alice.lets_days_pass_since_prompt(1)
    assert prompt(browser.get("/account"))


@pytest.mark.parametrize("policy", ["optional", "required"])
def test_otherwise_nobody_is_encouraged(person, policy):
    alice = person(mfa_policy=policy)
    browser = alice.signs_in()
    if policy == "required":
        alice.set_up_app(browser)
    assert prompt(browser.get("/account")) is None


def test_nobody_is_encouraged_to_what_they_have_or_cannot_have(person):
    alice = person(mfa_policy="encouraged")
    browser = alice.signs_in()
    alice.set_up_app(browser)
    assert prompt(browser.get("/account")) is None
    closed = person(mfa_policy="encouraged", mfa_enabled=False)
    assert prompt(closed.signs_in().get("/account")) is None
