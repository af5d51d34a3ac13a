"""What a token may say: the access token hook against hostile events, and the helpers of the policies."""

import json
import time

import psycopg
import pytest

from tests.stranger import Stranger, prove_new_app

SECOND_FACTORS = ["totp", "mfa/phone", "mfa/webauthn"]


@pytest.mark.parametrize(
    "event",
    [
        None,
        "null",
        "true",
        "0",
        "1e400",
        '""',
        '"claims"',
        "[]",
        '["claims"]',
        '[{"claims": {"amr": [{"method": "totp", "timestamp": 1}]}}]',
        "{}",
        '{"claims": null}',
        '{"claims": 1}',
        '{"claims": "{}"}',
        '{"claims": []}',
        '{"claims": [{"aal": "aal2"}]}',
        '{"claims": {}}',
        '{"claims": {"aal": "aal2"}}',
        '{"claims": {"aal": "aal2", "assurance": "forged"}}',
        '{"claims": {"aal": "aal3", "amr": null}}',
        '{"claims": {"aal": {"aal": "aal2"}, "amr": 1}}',
        '{"claims": {"amr": "totp"}}',
        '{"claims": {"amr": {"method": "totp", "timestamp": 1}}}',
        '{"claims": {"amr": {"method": "recovery_code", "timestamp": 1}}}',
        '{"claims": {"amr": [null, true, 1, "totp", [], ["recovery_code", 1], {}]}}',
        '{"claims": {"amr": [[{"method": "recovery_code", "timestamp": 1}]]}}',
        '{"claims": {"amr": [{"method": "recovery_code"}]}}',
        '{"claims": {"amr": [{"method": "recovery_code", "timestamp": null}]}}',
        '{"claims": {"amr": [{"method": "recovery_code", "timestamp": "1"}]}}',
        '{"claims": {"amr": [{"method": "recovery_code", "timestamp": [1]}]}}',
        '{"claims": {"amr": [{"method": ["recovery_code"], "timestamp": 1}]}}',
        '{"claims": {"amr": [{"method": null, "timestamp": 1}]}}',
        '{"claims": {"amr": [{"timestamp": 1}]}}',
        '{"claims": {"amr": [{"method": "totp", "timestamp": 1}]}}',
        '{"claims": {"amr": [{"method": "totp", "timestamp": 1}], "session_id": null}, "user_id": null}',
        '{"claims": {"amr": [{"method": "totp", "timestamp": 1}], "session_id": ""}, "user_id": ""}',
        '{"claims": {"amr": [{"method": "totp", "timestamp": 1}], "session_id": "x"}, "user_id": "x"}',
        '{"claims": {"amr": [{"method": "totp", "timestamp": 1}], "session_id": 1}, "user_id": 1e400}',
        '{"claims": {"amr": [{"method": "totp", "timestamp": 1}], "session_id": {}}, "user_id": []}',
    ],
)
def test_whatever_is_odd_in_an_event_is_no_proof_and_no_exception(database, event):
    claims = stamp(database, event)
    assert claims["aal"] == "aal1"
    assert claims["assurance"] == "stamped"
    assert claims["amr"] == []


@pytest.mark.parametrize("timestamp", ["1e400", "-1e400", "99999999999999999999", "-1", "0.5", "1e-400"])
@pytest.mark.parametrize("method", ["totp", "password"])
def test_no_number_is_too_large_for_the_hook(database, method, timestamp):
    claims = stamp(database, f'{{"claims": {{"amr": [{{"method": "{method}", "timestamp": {timestamp}}}]}}}}')
    assert claims["aal"] == "aal1"
    assert [entry["method"] for entry in claims["amr"]] == (["password"] if method == "password" else [])


def test_an_endorsed_factor_counts_in_the_session_that_proved_it(database, alice_with_totp):
    claims = stamp(database, event_of(database, alice_with_totp))
    assert claims["aal"] == "aal2"
    assert [entry["method"] for entry in claims["amr"]] == ["totp", "password"]


@pytest.mark.parametrize("method", SECOND_FACTORS)
def test_a_factor_proves_nothing_in_a_session_that_did_not_use_it(database, alice_with_totp, method):
    alice_with_totp.submits_password(alice_with_totp.browser())
    (session,) = database.execute(
        "select id::text from auth.sessions where user_id = %s and factor_id is null", [alice_with_totp.id]
    )
    event = event_of(database, alice_with_totp, method=method)
    event["claims"]["session_id"] = session["id"]
    assert stamp(database, event)["aal"] == "aal1"


@pytest.mark.parametrize("swapped", ["session", "owner"])
def test_another_persons_factor_proves_nothing(database, new_person, swapped):
    alice, mallory = new_person(), new_person("mallory")
    for person in (alice, mallory):
        person.set_up_app(person.signs_in())
    event, theirs = event_of(database, mallory), event_of(database, alice)
    if swapped == "session":
        event["claims"]["session_id"] = theirs["claims"]["session_id"]
    else:
        event["user_id"] = theirs["user_id"]
    assert stamp(database, event)["aal"] == "aal1"


@pytest.mark.parametrize("spelling", ["upper case", " {}", "{}\n", "{{{}}}", "{}0", "urn:uuid:{}"])
@pytest.mark.parametrize("name", ["session_id", "user_id"])
def test_an_id_in_another_spelling_is_no_proof(database, alice_with_totp, name, spelling):
    """Supabase Auth writes them in one way. The safe side: whatever is not recognised does not count."""
    event = event_of(database, alice_with_totp)
    holder = event["claims"] if name == "session_id" else event
    holder[name] = holder[name].upper() if spelling == "upper case" else spelling.format(holder[name])
    claims = stamp(database, event)
    assert claims["aal"] == "aal1"
    assert [entry["method"] for entry in claims["amr"]] == ["password"]


@pytest.mark.parametrize(
    "change",
    [
        "delete from public.mfa_endorsed_factors where factor_id = %s",
        "update auth.mfa_factors set status = 'unverified' where id = %s",
        "update auth.sessions set factor_id = null where factor_id = %s",
    ],
)
def test_what_an_unendorsed_or_unverified_factor_proved_is_dropped(database, alice_with_totp, change):
    event = event_of(database, alice_with_totp)
    (row,) = database.execute("select id from auth.mfa_factors where user_id = %s", [alice_with_totp.id])
    database.execute(change, [row["id"]])
    claims = stamp(database, event)
    assert claims["aal"] == "aal1"
    assert [entry["method"] for entry in claims["amr"]] == ["password"]


@pytest.mark.parametrize("method", ["recovery_code", "trusted_device"])
def test_proofs_that_supabase_does_not_count_are_lifted(database, alice, method):
    alice.signs_in()
    assert stamp(database, event_of(database, alice, method=method))["aal"] == "aal2"


@pytest.mark.parametrize("method", ["password", "otp", "oauth", "anonymous", "TOTP", "totp ", "aal2", ""])
def test_no_other_method_is_a_second_factor(database, alice_with_totp, method):
    event = event_of(database, alice_with_totp, method=method)
    assert stamp(database, event)["aal"] == "aal1"


def test_all_other_claims_are_kept(database, alice_with_totp):
    event = event_of(database, alice_with_totp)
    others = {"sub": event["user_id"], "exp": 2**53, "user_metadata": {"aal": "aal2", "é": [None, {}]}, "": None}
    event["claims"] |= others
    claims = stamp(database, event)
    assert {name: claims[name] for name in others} == others
    assert set(claims) == set(event["claims"]) | {"assurance", "aal"}


def test_deep_nesting_in_what_people_may_write_does_not_stop_their_sign_in(database, alice_with_totp):
    """user_metadata is written by the user; 10,000 levels are what Supabase Auth's own JSON parser takes."""
    event = event_of(database, alice_with_totp)
    text = json.dumps(event)[:-2] + f', "user_metadata": {"[" * 9990 + "]" * 9990}}}}}'
    (row,) = database.execute("select public.stamp_assurance(%s::jsonb) -> 'claims' ->> 'aal' as aal", [text])
    assert row["aal"] == "aal2"


def test_the_token_of_a_session_with_an_endorsed_app_says_aal2_until_the_endorsement_is_withdrawn(database, alice):
    stranger = Stranger().signs_in_as(alice)
    factor = prove_new_app(database, stranger)
    assert stranger.claims["aal"] == "aal2"
    assert stranger.claims["assurance"] == "stamped"
    database.execute("delete from public.mfa_endorsed_factors where factor_id = %s", [factor])
    stranger.refreshes()
    assert stranger.claims["aal"] == "aal1"
    assert stranger.claims["assurance"] == "stamped"
    assert [entry["method"] for entry in stranger.claims["amr"]] == ["password"]


def test_a_session_with_a_recovery_code_gets_an_aal2_token(database, alice):
    stranger = Stranger().signs_in_as(alice)
    assert stranger.claims["aal"] == "aal1"
    database.execute(
        "insert into auth.mfa_amr_claims (id, session_id, created_at, updated_at, authentication_method)"
        " values (gen_random_uuid(), %s, now(), now(), 'recovery_code')",
        [stranger.claims["session_id"]],
    )
    assert stranger.refreshes().claims["aal"] == "aal2"


STAMPED = {"aal": "aal2", "assurance": "stamped"}


@pytest.mark.parametrize(
    ("claims", "aal2", "age"),
    [
        (None, False, None),
        ({}, False, None),
        ({"aal": "aal2", "amr": [("totp", 0)]}, False, None),  # the hook is switched off
        ({"aal": "aal2", "assurance": "stampe", "amr": [("totp", 0)]}, False, None),
        ({"aal": "aal2", "assurance": None, "amr": [("totp", 0)]}, False, None),
        ({"aal": "aal1", "assurance": "stamped", "amr": [("totp", 0)]}, False, None),
        ({"aal": "aal3", "assurance": "stamped", "amr": [("totp", 0)]}, False, None),
        ({"aal": ["aal2"], "assurance": "stamped", "amr": [("totp", 0)]}, False, None),
        ({"user_metadata": STAMPED, "app_metadata": STAMPED}, False, None),
        (STAMPED, True, None),
        (STAMPED | {"amr": []}, True, None),
        (STAMPED | {"amr": [("password", 5)]}, True, None),
        (STAMPED | {"amr": [("trusted_device", 5)]}, True, None),
        (STAMPED | {"amr": [("mfa/phone", 5)]}, True, None),
        (STAMPED | {"amr": [("totp", 100)]}, True, 100),
        (STAMPED | {"amr": [("mfa/webauthn", 40), ("totp", 100), ("password", 1)]}, True, 40),
        (STAMPED | {"amr": [("totp", 100), ("recovery_code", 60)]}, True, 60),
        (STAMPED | {"amr": [("totp", -10)]}, True, 0),  # clocks differ
        (STAMPED | {"amr": [("totp", -60)]}, True, None),
        (STAMPED | {"amr": [("totp", -60), ("mfa/webauthn", 400)]}, True, 400),
    ],
)
def test_policies_believe_only_a_stamped_aal2_and_proofs_from_the_past(database, claims, aal2, age):
    """Entries are (method, seconds ago)."""
    now = int(time.time())
    if claims and "amr" in claims:
        claims = claims | {"amr": [{"method": method, "timestamp": now - ago} for method, ago in claims["amr"]]}
    answer = helpers(database, json.dumps(claims) if claims is not None else "")
    assert answer["aal2"] is aal2
    assert answer["age"] == (age if age is None else pytest.approx(age, abs=2))


@pytest.mark.parametrize("amr", ["null", "1", '"totp"', "{}", '[{"method": "totp", "timestamp": 1e400}]', "[null]"])
def test_odd_proofs_in_a_token_are_no_fresh_proof(database, amr):
    """The hook lets none of these through; were one signed all the same, a policy may fail, but not say yes."""
    claims = f'{{"aal": "aal2", "assurance": "stamped", "amr": {amr}}}'
    try:
        assert helpers(database, claims)["age"] is None
    except psycopg.DataError:
        pass


def stamp(database, event) -> dict:
    """Call the hook with an event, given as a value or as JSON text, and return the claims it answers with."""
    event = event if event is None or isinstance(event, str) else json.dumps(event)
    (row,) = database.execute("select public.stamp_assurance(%s::jsonb) as answer", [event])
    assert set(row["answer"]) == {"claims"}
    return row["answer"]["claims"]


def event_of(database, person, method: str = "totp") -> dict:
    """The event of the person's strongest session, with `method` just proven."""
    (session,) = database.execute(
        "select id::text from auth.sessions where user_id = %s order by aal desc limit 1", [person.id]
    )
    proofs = [{"method": method, "timestamp": 1790000000}, {"method": "password", "timestamp": 1789999990}]
    return {
        "user_id": person.id,
        "authentication_method": "token_refresh",
        "claims": {"session_id": session["id"], "aal": "aal1", "amr": proofs},
    }


def helpers(database, claims: str) -> dict:
    with database.transaction():
        database.execute("select set_config('request.jwt.claims', %s, true)", [claims])
        database.execute("set local role authenticated")
        (row,) = database.execute("select public.aal2() as aal2, public.factor_age_seconds() as age")
    return row
