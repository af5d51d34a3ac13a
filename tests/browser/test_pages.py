"""Every page there is, taken from the app's own list of addresses: new ones are looked at without being asked."""

import pytest

from tests.browser.pages import Account, Challenge, Screen, SignIn

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("visitor", ["a stranger", "Alice", "an administrator"])
def test_no_page_has_barriers(page, app, alice_with_totp, visitor):
    if visitor != "a stranger":
        alice_with_totp.gets_roles(*["admin"] if visitor == "an administrator" else [])
        SignIn.open(page).sign_in(alice_with_totp.email, alice_with_totp.password)
        Challenge(page).answer(alice_with_totp.phones[0].code())
        Account(page)
    seen = set()
    for path in _addresses(app):
        page.goto(path)
        if page.url.partition("?")[0] not in seen:  # most of them send a stranger to the same place
            seen.add(page.url.partition("?")[0])
            assert Screen(page).barriers() == [], path
    assert len(seen) > 6


def _addresses(app):
    return [
        rule.rule
        for rule in app.url_map.iter_rules()
        if "GET" in rule.methods and not rule.arguments and rule.endpoint.partition(".")[0] not in ("static", "machine")
    ]
