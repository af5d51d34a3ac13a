"""What the secret key may do: people, their factors, links and invitations, and the audit log."""

from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from supabase import ClientOptions, create_client

from tests.contract.mailed import token_hash

NOBODY = "8f9d2c9e-0000-4000-8000-000000000000"


@pytest.fixture
def admin(wire):
    return wire.as_admin


def test_an_admins_new_password_ends_every_session_and_link(wire, admin, alice, alices_phone, mails):
    """4."""
    wire("POST", "/recover", {"email": alice.email})
    assert admin("PUT", f"/admin/users/{alice.id}", {"password": "set by support 5"}).status == 200
    assert alices_phone.call("GET", "/user").refusal == (403, "session_not_found")
    assert alices_phone.refresh().refusal == (400, "refresh_token_not_found")
    link = {"type": "recovery", "token_hash": token_hash(mails(alice.email)[0])}
    assert wire("POST", "/verify", link).refusal == (403, "otp_expired")
    assert alice.log_in().refusal == (400, "invalid_credentials")
    assert alice.log_in("set by support 5").status == 200


def test_an_admin_changes_everything_at_once_and_without_mail(admin, people, alice, alices_phone, mails):
    """Section 5: metadata merged, null deletes; no session ends."""
    email = people.free_address()
    admin("PUT", f"/admin/users/{alice.id}", {"app_metadata": {"a": 1, "b": 2}, "user_metadata": {"c": 3, "d": 4}})
    user = admin(
        "PUT",
        f"/admin/users/{alice.id}",
        {"email": email.upper(), "app_metadata": {"b": None}, "user_metadata": {"d": None}, "role": "editor"},
    ).body
    assert (user["email"], user["role"]) == (email, "editor")
    assert user["identities"][0]["identity_data"]["email"] == email
    assert user["app_metadata"] == {"provider": "email", "providers": ["email"], "a": 1}
    assert {"c", "d"} & set(user["user_metadata"]) == {"c"}
    assert mails(email) == []
    alices_phone.refresh()
    assert (alices_phone.claims["email"], alices_phone.claims["role"]) == (email, "editor")


def test_an_admin_confirms_an_address_and_cannot_unconfirm_one(admin, people):
    """Section 5: the identity goes on saying that nobody has read the mail."""
    made = people.sign_up(email := people.free_address(), "long enough 1").body
    user = admin("PUT", f"/admin/users/{made['id']}", {"email_confirm": True}).body
    assert user["email_confirmed_at"]
    assert user["user_metadata"]["email_verified"] is True
    assert user["identities"][0]["identity_data"]["email_verified"] is False
    user = admin("PUT", f"/admin/users/{made['id']}", {"email_confirm": False}).body
    assert user["email_confirmed_at"]
    assert user["email"] == email


def test_a_ban_refuses_and_ends_nothing_and_is_lifted(admin, alice, alices_phone):
    """35."""
    admin("PUT", f"/admin/users/{alice.id}", {"ban_duration": "1h30m"})
    assert alices_phone.call("GET", "/user").refusal == (403, "user_banned")
    assert alices_phone.refresh().refusal == (400, "user_banned")
    assert "banned_until" not in admin("PUT", f"/admin/users/{alice.id}", {"ban_duration": "none"}).body
    assert alices_phone.call("GET", "/user").status == 200


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"password": "x"}, (422, "weak_password")),
        ({"password": ""}, (422, "weak_password")),
        ({"password": "x" * 73}, (400, "validation_failed")),
        ({"ban_duration": "1d"}, (400, "validation_failed")),
        ({"ban_duration": "9999999999h"}, (400, "validation_failed")),
        ({"email": "no address"}, (400, "validation_failed")),
        ({"email_confirm": "yes"}, (400, "bad_json")),
    ],
)
def test_an_admins_mistakes_are_refused_and_change_nothing(admin, alice, body, refusal):
    """Section 5."""
    before = admin("GET", f"/admin/users/{alice.id}").body
    assert admin("PUT", f"/admin/users/{alice.id}", {"user_metadata": {"x": 1}, **body}).refusal == refusal
    assert admin("GET", f"/admin/users/{alice.id}").body == before
    assert admin("PUT", f"/admin/users/{NOBODY}", body).refusal == (404, "user_not_found")


def test_an_admin_cannot_give_somebody_elses_address(admin, alice, bob):
    """Section 5; upstream answers 500."""
    assert admin("PUT", f"/admin/users/{alice.id}", {"email": bob.email}).refusal == (422, "email_exists")


def test_people_are_listed_a_page_at_a_time_newest_first(admin, people):
    """Section 5: filter, sort and headers."""
    name = people.free_address().partition("@")[0]
    made = [people.add(email=f"{name}-{number}@example.com").email for number in range(3)]
    first = admin("GET", f"/admin/users?filter={name}&per_page=2")
    assert [user["email"] for user in first.body["users"]] == [made[2], made[1]]
    assert first.body["aud"] == "authenticated"
    assert first.headers["X-Total-Count"] == "3"
    links = dict(reversed(link.strip().split("; ")) for link in first.headers["Link"].split(","))
    for relation in ("next", "last"):
        query = parse_qs(urlsplit(links[f'rel="{relation}"'].strip("<>")).query)
        assert (query["page"], query["per_page"], query["filter"]) == (["2"], ["2"], [name])
    second = admin("GET", f"/admin/users?filter={name}&per_page=2&page=2")
    assert [user["email"] for user in second.body["users"]] == [made[0]]
    assert "next" not in second.headers["Link"]
    oldest = admin("GET", f"/admin/users?filter={name}&sort=created_at asc")
    assert [user["email"] for user in oldest.body["users"]] == made
    assert all(user["identities"] is None and "factors" not in user for user in oldest.body["users"])


def test_people_are_found_by_full_name_in_any_case_and_by_address_in_its_own(admin, people):
    """Section 5."""
    name = people.free_address()
    ben = people.add(user_metadata={"full_name": f"Ben {name}"})
    assert [user["id"] for user in admin("GET", f"/admin/users?filter=bEN {name}").body["users"]] == [ben.id]
    assert admin("GET", f"/admin/users?filter={ben.email.upper()}").body["users"] == []


@pytest.mark.parametrize("query", ["page=0", "page=x", "per_page=-1", "sort=email", "sort=created_at up"])
def test_a_malformed_page_is_refused(admin, query):
    """Section 5."""
    assert admin("GET", f"/admin/users?{query}").refusal == (400, "validation_failed")


def test_a_softly_deleted_person_is_gone_but_for_the_row(admin, people, alice, alices_phone, alices_app, guards):
    """43, section 5: the address is free again; doing it twice does nothing."""
    guards.withdraw(alices_app["id"])
    for _ in range(2):
        assert admin("DELETE", f"/admin/users/{alice.id}", {"should_soft_delete": True}).body == {}
    left = admin("GET", f"/admin/users/{alice.id}").body
    assert left["deleted_at"]
    assert (left["user_metadata"], left["app_metadata"]) == ({}, {})
    assert "factors" not in left
    assert alice.email not in str(left)
    assert left["identities"][0]["identity_data"] == {}
    assert alices_phone.call("GET", "/user").refusal == (403, "session_not_found")
    assert alice.log_in().refusal == (400, "invalid_credentials")
    assert people.add(email=alice.email).log_in().status == 200


def test_an_admin_removes_a_factor_without_proof_and_sessions_fall_back(admin, alice, alices_phone, alices_app, guards):
    """12, section 5."""
    guards.withdraw(alices_app["id"])
    removed = admin("DELETE", f"/admin/users/{alice.id}/factors/{alices_app['id']}")
    assert (removed.status, removed.body["id"], removed.body["status"]) == (200, alices_app["id"], "verified")
    assert "secret" not in removed.body
    alices_phone.refresh()
    assert (alices_phone.claims["aal"], alices_phone.methods) == ("aal1", ["password"])
    assert admin("GET", f"/admin/users/{alice.id}/factors").body == []


def test_an_admin_renames_a_factor(admin, alice, alices_phone, alices_app):
    """Section 5: nobody else can; not to a name that is taken."""
    other = alices_phone.enroll("laptop")
    path = f"/admin/users/{alice.id}/factors/{other['id']}"
    assert admin("PUT", path, {"friendly_name": "tablet"}).body["friendly_name"] == "tablet"
    assert admin("PUT", path, {"friendly_name": "phone"}).refusal == (422, "mfa_factor_name_conflict")
    assert admin("PUT", path, {}).body["friendly_name"] == "tablet"


def test_a_factor_is_its_owners(admin, alice, bob, alices_app):
    """15: for admins too."""
    for method in ("PUT", "DELETE"):
        assert admin(method, f"/admin/users/{bob.id}/factors/{alices_app['id']}", {}).refusal == (
            404,
            "mfa_factor_not_found",
        )
        assert admin(method, f"/admin/users/{bob.id}/factors/1", {}).refusal == (404, "validation_failed")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/admin/users"),
        ("POST", "/admin/users"),
        ("GET", f"/admin/users/{NOBODY}"),
        ("PUT", f"/admin/users/{NOBODY}"),
        ("DELETE", f"/admin/users/{NOBODY}"),
        ("GET", f"/admin/users/{NOBODY}/factors"),
        ("PUT", f"/admin/users/{NOBODY}/factors/{NOBODY}"),
        ("DELETE", f"/admin/users/{NOBODY}/factors/{NOBODY}"),
        ("POST", "/admin/generate_link"),
        ("POST", "/invite"),
        ("GET", "/admin/audit"),
    ],
)
def test_no_door_of_the_admins_opens_to_others(wire, alices_phone, method, path):
    """36."""
    assert wire(method, path, {}).refusal == (403, "not_admin")
    assert alices_phone.call(method, path, {}).refusal == (403, "not_admin")
    assert wire(method, path, {}, headers={"Authorization": ""}).refusal == (401, "no_authorization")


def test_a_person_made_an_admin_is_one_while_the_session_lives(wire, admin, people, database):
    """36, 1.3: the role is in the token."""
    ben = people.add(role="service_role").sign_in()
    assert ben.call("GET", "/admin/users").status == 200
    database.execute(
        "update auth.sessions set not_after = now() - interval '1 second' where id = %s", [ben.claims["session_id"]]
    )
    assert ben.call("GET", "/admin/users").refusal == (403, "session_expired")
    database.execute("delete from auth.sessions where id = %s", [ben.claims["session_id"]])
    assert ben.call("GET", "/admin/users").refusal == (403, "session_not_found")


# Links


@pytest.mark.parametrize(("type_", "effective"), [("magiclink", "magiclink"), ("recovery", "recovery")])
def test_a_link_for_somebody_known_signs_in_and_no_mail_is_sent(wire, admin, alice, mails, type_, effective):
    """5.1, 25: also as the client reads it; the digits work as well as the hash."""
    made = admin("POST", "/admin/generate_link", {"type": type_, "email": alice.email.upper()}).body
    assert (made["id"], made["email"], made["verification_type"]) == (alice.id, alice.email, effective)
    assert mails(alice.email) == []
    query = parse_qs(urlsplit(made["action_link"]).query)
    assert (query["token"], query["type"]) == ([made["hashed_token"]], [type_])
    by_hash = {"type": effective, "token_hash": made["hashed_token"]}
    assert wire("POST", "/verify", by_hash).body["user"]["id"] == alice.id
    made = admin("POST", "/admin/generate_link", {"type": type_, "email": alice.email}).body
    by_digits = {"type": effective, "email": alice.email, "token": made["email_otp"]}
    assert wire("POST", "/verify", by_digits).status == 200
    assert wire("POST", "/verify", by_digits).refusal == (403, "otp_expired")


def test_the_client_makes_a_link_and_signs_in_with_it(client, server, alice):
    """0.3, D8: how the app begins a session after a passkey."""
    with httpx.Client(trust_env=False, timeout=15) as http:
        options = ClientOptions(httpx_client=http, auto_refresh_token=False)
        admin = create_client(server.url, server.secret_key, options).auth.admin
        made = admin.generate_link({"type": "magiclink", "email": alice.email})
        assert made.user.id == alice.id
    signed_in = client.auth.verify_otp({"token_hash": made.properties.hashed_token, "type": "magiclink"})
    assert signed_in.user.id == alice.id


def test_a_magic_link_for_somebody_unknown_is_a_sign_up(wire, admin, people):
    """5.1: it answers so, and makes the person."""
    email = people.free_address()
    made = admin("POST", "/admin/generate_link", {"type": "magiclink", "email": email}).body
    people.made.append(made["id"])
    assert made["verification_type"] == "signup"
    answer = wire("POST", "/verify", {"type": "signup", "token_hash": made["hashed_token"]})
    assert answer.body["user"]["email_confirmed_at"]


def test_a_sign_up_link_makes_a_person_and_another_replaces_it(wire, admin, people):
    """5.1: metadata merged for somebody unconfirmed."""
    email = people.free_address()
    body = {"type": "signup", "email": email, "password": "long enough 1", "data": {"a": 1}}
    first = admin("POST", "/admin/generate_link", body).body
    people.made.append(first["id"])
    second = admin("POST", "/admin/generate_link", {**body, "data": {"b": 2}}).body
    assert second["id"] == first["id"]
    assert {"a", "b"} <= set(second["user_metadata"])
    old = {"type": "signup", "token_hash": first["hashed_token"]}
    assert wire("POST", "/verify", old).refusal == (403, "otp_expired")
    assert wire("POST", "/verify", {**old, "token_hash": second["hashed_token"]}).status == 200
    assert admin("POST", "/admin/generate_link", body).refusal == (422, "email_exists")


def test_both_links_of_a_change_change_the_address(wire, admin, people, alice):
    """5.1, 46: hashed_token of both; upstream's of the new address does not work."""
    address = people.free_address()
    for type_ in ("email_change_current", "email_change_new"):
        body = {"type": type_, "email": alice.email, "new_email": address}
        made = admin("POST", "/admin/generate_link", body).body
        assert made["verification_type"] == type_
        assert "type=email_change&" in made["action_link"]
        answer = wire("POST", "/verify", {"type": "email_change", "token_hash": made["hashed_token"]})
        assert answer.body["code"] == "200"
    # Each call begins the change anew, so each of these was a first half.
    assert wire.as_admin("GET", f"/admin/users/{alice.id}").body["email"] == alice.email
    made = [
        admin("POST", "/admin/generate_link", {"type": type_, "email": alice.email, "new_email": address}).body
        for type_ in ("email_change_current", "email_change_new")
    ]
    for link in made:
        answer = wire("POST", "/verify", {"type": "email_change", "token_hash": link["hashed_token"]})
    assert answer.body["user"]["email"] == address


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"type": "recovery", "email": "nobody@example.com"}, (404, "user_not_found")),
        ({"type": "email_change_new", "email": "nobody@example.com"}, (404, "user_not_found")),
        ({"type": "signup", "email": "nobody@example.com"}, (400, "validation_failed")),
        ({"type": "signup", "email": "nobody@example.com", "password": "x"}, (422, "weak_password")),
        ({"type": "sms", "email": "nobody@example.com"}, (400, "validation_failed")),
        ({"email": "nobody@example.com"}, (400, "validation_failed")),
        ({"type": "magiclink"}, (400, "validation_failed")),
    ],
)
def test_a_link_that_cannot_be_made_is_refused(admin, body, refusal):
    """5.1."""
    assert admin("POST", "/admin/generate_link", body).refusal == refusal


def test_a_link_leads_where_it_may(admin, alice, our_server):
    """30, 5.1: the body's redirect_to wins, if it is allowed."""
    body = {"type": "magiclink", "email": alice.email}
    wanted = "http://localhost:5000/welcome"
    assert admin("POST", "/admin/generate_link", {**body, "redirect_to": wanted}).body["redirect_to"] == wanted
    foreign = admin("POST", "/admin/generate_link", {**body, "redirect_to": "https://evil.test/"}).body
    assert foreign["redirect_to"] == "http://localhost:5000"
    assert "evil" not in foreign["action_link"]


# Invitations


def test_an_invited_person_confirms_and_sets_a_password(wire, admin, people, mails, database):
    """3.10, 3.11: without a password until then; inviting again replaces the link."""
    email = people.free_address()
    invited = admin("POST", "/invite", {"email": email, "data": {"team": "a"}}).body
    people.made.append(invited["id"])
    assert invited["invited_at"]
    assert invited["user_metadata"]["team"] == "a"
    first = token_hash(mails(email)[0])
    assert mails(email)[0]["kind"] == "invite"
    assert admin("POST", "/invite", {"email": email}).body["id"] == invited["id"]
    database.execute("update auth.users set confirmation_sent_at = null where id = %s", [invited["id"]])
    strangers = people.sign_up(email, "somebody else's 3").body
    assert (strangers["user_metadata"], strangers["identities"]) == ({}, [])
    assert wire("POST", "/verify", {"type": "invite", "token_hash": first}).refusal == (403, "otp_expired")
    accepted = wire("POST", "/verify", {"type": "invite", "token_hash": token_hash(mails(email)[0])})
    assert accepted.body["user"]["email_confirmed_at"]
    stored = "select encrypted_password <> '' from auth.users where id = %s"
    assert database.execute(stored, [invited["id"]]).fetchone() == (True,)
    token = accepted.body["access_token"]
    assert wire("PUT", "/user", {"password": "long enough 1"}, token=token).status == 200
    assert admin("POST", "/invite", {"email": email}).refusal == (422, "email_exists")


def test_an_invitation_is_a_link_of_its_own(wire, admin, people, mails):
    """5.1."""
    email = people.free_address()
    made = admin("POST", "/admin/generate_link", {"type": "invite", "email": email}).body
    people.made.append(made["id"])
    assert mails(email) == []
    assert wire("POST", "/verify", {"type": "invite", "token_hash": made["hashed_token"]}).status == 200


# The audit log


def _deeds(admin, author):
    entries = admin("GET", f"/admin/audit?query=author:{author}&per_page=100").body
    return [entry["payload"]["action"] for entry in reversed(entries)]


def test_the_audit_log_says_what_a_person_did(admin, wire, alice, alices_phone, mails):
    """5.2: a failed login and a failed code leave no entry."""
    alice.log_in("wrong")
    factor = alices_phone.enroll()
    challenge = alices_phone.challenge(factor)
    alices_phone.verify(factor, challenge, "000000")
    alices_phone.verify(factor, challenge)
    alices_phone.refresh()
    alices_phone.call("PUT", "/user", {"password": "a better one 4"})
    alices_phone.call("GET", "/reauthenticate")
    wire("POST", "/recover", {"email": alice.email})
    wire("POST", "/signup", {"email": alice.email, "password": "long enough 1"})
    alices_phone.unenroll(factor)
    alices_phone.call("POST", "/logout")
    wire("POST", "/verify", {"type": "recovery", "token_hash": token_hash(mails(alice.email)[0])})
    assert _deeds(admin, alice.email) == [
        "login",
        "factor_in_progress",
        "challenge_created",
        "verification_attempted",
        "token_revoked",  # the one from before the code
        "token_revoked",
        "token_refreshed",
        "user_updated_password",
        "user_modified",
        "user_reauthenticate_requested",
        "user_recovery_requested",
        "user_repeated_signup",
        "factor_unenrolled",
        "logout",
        "login",
    ]  # fmt: skip


def test_the_audit_log_says_what_admins_did(admin, people):
    """5.2: the actor is the role; the traits say to whom."""
    ben = people.add()
    phone = ben.sign_in()
    factor = phone.enroll()
    admin("PUT", f"/admin/users/{ben.id}", {"user_metadata": {"x": 1}})
    admin("PUT", f"/admin/users/{ben.id}/factors/{factor['id']}", {"friendly_name": "tablet"})
    admin("DELETE", f"/admin/users/{ben.id}/factors/{factor['id']}")
    email = people.free_address()
    people.made.append(admin("POST", "/invite", {"email": email}).body["id"])
    admin("DELETE", f"/admin/users/{ben.id}")
    entries = admin("GET", "/admin/audit?per_page=200").body
    about = [entry["payload"] for entry in entries if entry["payload"].get("traits", {}).get("user_id") == ben.id]
    assert [payload["action"] for payload in reversed(about)] == [
        "user_signedup",
        "user_modified",
        "factor_updated",
        "factor_deleted",
        "user_deleted",
    ]
    assert {payload["actor_username"] for payload in about} == {"service_role", ben.email}
    [invited] = [entry for entry in entries if entry["payload"].get("traits", {}).get("user_email") == email]
    assert (invited["payload"]["action"], invited["payload"]["log_type"]) == ("user_invited", "team")


def test_a_sign_up_is_logged_when_it_is_asked_for_and_when_it_is_confirmed(admin, wire, people, mails):
    """5.2."""
    email = people.free_address()
    people.sign_up(email, "long enough 1", data={"full_name": "Ben Audited"})
    wire("POST", "/verify", {"type": "signup", "token_hash": token_hash(mails(email)[0])})
    assert _deeds(admin, email) == ["user_confirmation_requested", "user_signedup"]
    [entry, *_] = admin("GET", f"/admin/audit?query=author:{email}").body
    assert entry["payload"]["actor_name"] == "Ben Audited"
    assert entry["payload"]["actor_via_sso"] is False


def test_the_audit_log_keeps_the_address_of_factor_events_alone(admin, alice, alices_phone, alices_app, server):
    """5.2; newest first, filtered by type."""
    entries = admin("GET", f"/admin/audit?query=author:{alice.email}").body
    assert {bool(entry["ip_address"]) for entry in entries if entry["payload"]["log_type"] == "factor"} == {True}
    assert {entry["ip_address"] for entry in entries if entry["payload"]["log_type"] != "factor"} == {""}
    times = [entry["created_at"] for entry in entries]
    assert times == sorted(times, reverse=True)
    factors_only = admin("GET", "/admin/audit?query=type:factor&per_page=5").body
    assert {entry["payload"]["log_type"] for entry in factors_only} == {"factor"}
    logins = admin("GET", "/admin/audit?query=action:login&per_page=5").body
    assert {entry["payload"]["action"] for entry in logins} == {"login"}


@pytest.mark.parametrize("query", ["query=who:alice", "query=author", "page=0"])
def test_a_malformed_search_of_the_audit_log_is_refused(admin, query):
    """Section 5."""
    assert admin("GET", f"/admin/audit?{query}").refusal == (400, "validation_failed")
