"""The hooks that are asked about every password and every code, and may refuse: functions of conftest.py."""

import json

import pytest

HOOK = "pg-functions://postgres/public/contract_attempt_hook"


@pytest.fixture
def asked(people_with):
    """People whose every attempt is put before the hooks."""
    return people_with(password_attempt_hook=HOOK, mfa_attempt_hook=HOOK)


@pytest.fixture
def plant(database):
    """Let the hooks answer `verdict` for a person."""

    def plant(person, verdict):
        database.execute(
            "insert into public.contract_verdicts values (%s, %s)"
            " on conflict (user_id) do update set verdict = excluded.verdict",
            [person.id, json.dumps(verdict)],
        )

    return plant


@pytest.fixture
def told(database):
    """What the hooks were told about a person, in order."""

    def told(person):
        rows = database.execute("select event from public.contract_attempts where user_id = %s", [person.id])
        return [event for (event,) in rows.fetchall()]

    return told


def test_the_hook_hears_of_every_password_and_what_it_writes_stays(asked, told):
    """41, 6.3: of wrong ones too, though the attempt is undone."""
    person = asked.add()
    assert person.log_in("wrong").refusal == (400, "invalid_credentials")
    assert person.log_in().status == 200
    events = told(person)
    assert [event["valid"] for event in events] == [False, True]
    assert events[0]["metadata"]["name"] == "password-verification"
    assert set(events[0]) == {"metadata", "user_id", "valid"}


def test_unknown_and_banned_people_are_not_the_hooks_business(asked, told):
    """6.3."""
    person = asked.add(ban_duration="24h")
    assert person.log_in().refusal == (400, "user_banned")
    assert told(person) == []


@pytest.mark.parametrize("password", ["right", "wrong"])
def test_a_rejected_password_is_refused_with_the_hooks_words(asked, plant, told, password):
    """6.3: right or wrong; sessions stay unless it says so."""
    person = asked.add()
    phone = person.sign_in()
    plant(person, {"decision": "reject", "message": "too many"})
    answer = person.log_in(None if password == "right" else "wrong")
    assert answer.refusal == (400, "invalid_credentials")
    assert answer.body["message"] == "too many"
    assert phone.call("GET", "/user").status == 200
    assert told(person)[-1]["valid"] is (password == "right")
    plant(person, {"decision": "reject", "should_logout_user": True})
    assert person.log_in().refusal == (400, "invalid_credentials")
    assert phone.call("GET", "/user").refusal == (403, "session_not_found")


@pytest.mark.parametrize("verdict", [None, {}, {"decision": "continue"}, {"decision": "perhaps", "message": "x"}])
def test_any_other_verdict_changes_nothing(asked, plant, verdict):
    """6.3, 6.4."""
    person = asked.add()
    plant(person, verdict)
    assert person.log_in("wrong").refusal == (400, "invalid_credentials")
    phone = person.sign_in()
    factor = phone.enroll()
    challenge = phone.challenge(factor)
    assert phone.verify(factor, challenge, "000000").refusal == (422, "mfa_verification_failed")
    assert phone.verify(factor, challenge).status == 200


@pytest.mark.parametrize("verdict", [{"decision": "raise"}, "text", ["list"]])
def test_a_hook_that_breaks_refuses(asked, plant, verdict):
    """40: fail closed."""
    person = asked.add()
    plant(person, verdict)
    assert person.log_in().refusal == (500, "unexpected_failure")


def test_a_hook_may_refuse_with_a_status_of_its_own(asked, plant, told):
    """6.1; its writes stay all the same."""
    person = asked.add()
    plant(person, {"error": {"http_code": 429, "message": "slowly"}})
    assert person.log_in().refusal == (429, "unknown")
    assert len(told(person)) == 1


def test_the_hook_hears_of_every_code_and_what_it_writes_stays(asked, told):
    """41, 6.4."""
    person = asked.add()
    phone = person.sign_in()
    factor = phone.enroll()
    challenge = phone.challenge(factor)
    assert phone.verify(factor, challenge, "000000").refusal == (422, "mfa_verification_failed")
    assert phone.verify(factor, challenge).status == 200
    assert phone.verify(factor, challenge).refusal == (422, "mfa_ip_address_mismatch")
    events = [event for event in told(person) if event["metadata"]["name"] == "mfa-verification"]
    assert [event["valid"] for event in events] == [False, True]
    assert (events[0]["factor_id"], events[0]["factor_type"]) == (factor["id"], "totp")


@pytest.mark.parametrize("code", ["right", "wrong"])
def test_a_rejected_code_ends_every_session(asked, plant, code):
    """40: and is not counted as proof, right as it may be."""
    person = asked.add()
    phone, laptop = person.sign_in(), person.sign_in()
    factor = phone.enroll()
    challenge = phone.challenge(factor)
    plant(person, {"decision": "reject", "message": "no more"})
    answer = phone.verify(factor, challenge, None if code == "right" else "000000")
    assert answer.refusal == (403, "mfa_verification_rejected")
    assert answer.body["message"] == "no more"
    for device in (phone, laptop):
        assert device.call("GET", "/user").refusal == (403, "session_not_found")
    plant(person, {})
    assert person.sign_in().tokens["user"]["factors"][0]["status"] == "unverified"
