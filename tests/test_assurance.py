"""decide(): what a session may do, by arithmetic alone."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.assurance import (
    ACTIONS,
    ADD_FACTOR,
    ADMINISTER,
    BILLING,
    DELETE,
    FACTOR_METHODS,
    FINISH_FACTOR,
    NOTES,
    REMOVE_LAST_FACTOR,
    SECURITY,
    Allow,
    Challenge,
    Deny,
    EnrolFirst,
    Factor,
    Policy,
    SignInAgain,
    decide,
    factor_age,
    opened_by_the_last_code,
    sign_in_age,
)
from auth.tokens import Claims, Proof

NOW = 1_790_000_000
PHONE = Factor(id="f", type="totp", name="Phone", created_at=NOW - 9999)
ASK = Challenge((PHONE,), by_code=True)
ASK_WITHOUT_CODES = Challenge((PHONE,), by_code=False)
OPTIONAL, REQUIRED, CLOSED = Policy(), Policy("required"), Policy("required", enrolment=False)
ADMINS = Policy(roles=frozenset({"admin"}))


def claims(aal="aal1", *, stamped=True, roles=(), **ages):
    amr = tuple(Proof(method.replace("__", "/"), NOW - age) for method, age in ages.items())
    return Claims("user", "session", "alice@example.com", aal, amr, stamped, frozenset(roles))


@pytest.mark.parametrize(
    ("who", "factors", "action", "decision"),
    [
        (claims(password=9999), [], NOTES, Allow()),
        (claims(password=299), [], SECURITY, Allow()),
        (claims(password=300), [], SECURITY, SignInAgain()),
        (claims(otp=10), [], SECURITY, Allow()),
        (claims(unheard_of=10), [], SECURITY, SignInAgain()),
        (claims(), [], SECURITY, SignInAgain()),
        (claims(password=59), [], DELETE, Allow()),
        (claims(password=60), [], DELETE, SignInAgain()),
        (claims(password=10), [], BILLING, EnrolFirst()),
        (claims("aal2", password=10, totp=10), [], BILLING, EnrolFirst()),  # removed since the token was made
        (claims(password=10), [PHONE], NOTES, ASK),
        (claims(password=10, totp=10), [PHONE], NOTES, ASK),  # aal1 all the same
        (claims("aal2", password=9999, totp=9000), [PHONE], NOTES, Allow()),
        (claims("aal2", password=10), [PHONE], NOTES, ASK),  # of nothing that we know
        (claims("aal2", unheard_of=10), [PHONE], NOTES, ASK),
        (claims("aal2", trusted_device=10), [PHONE], NOTES, Allow()),
        (claims("aal2", totp=299), [PHONE], SECURITY, Allow()),
        (claims("aal2", totp=300), [PHONE], SECURITY, ASK),
        (claims("aal2", password=10, totp=301), [PHONE], SECURITY, ASK),
        (claims("aal2", mfa__webauthn=10), [PHONE], SECURITY, Allow()),
        (claims("aal2", recovery_code=10), [PHONE], SECURITY, Allow()),
        (claims("aal2", trusted_device=10), [PHONE], SECURITY, ASK),
        (claims("aal2", mfa__phone=10), [PHONE], SECURITY, ASK),
        (claims("aal2", totp=-29), [PHONE], SECURITY, Allow()),  # clocks differ
        (claims("aal2", totp=-31), [PHONE], SECURITY, ASK),  # but not that much
        (claims("aal3", totp=10), [PHONE], NOTES, ASK),
        (claims("", totp=10), [PHONE], NOTES, ASK),
        (claims("aal2", totp=59), [PHONE], REMOVE_LAST_FACTOR, Allow()),
        (claims("aal2", totp=60), [PHONE], REMOVE_LAST_FACTOR, ASK_WITHOUT_CODES),
        (claims("aal2", recovery_code=1), [PHONE], REMOVE_LAST_FACTOR, ASK_WITHOUT_CODES),
        (claims("aal2", recovery_code=1, totp=59), [PHONE], DELETE, Allow()),
        (claims("aal2", totp=299), [PHONE], BILLING, Allow()),
        (claims("aal2", totp=301), [PHONE], BILLING, ASK),
        (claims("aal2", totp=10), [PHONE], ADMINISTER, Deny("role")),
        (claims("aal2", totp=1799, roles=["admin"]), [PHONE], ADMINISTER, Allow()),
        (claims("aal2", totp=1800, roles=["admin"]), [PHONE], ADMINISTER, ASK_WITHOUT_CODES),
        (claims("aal2", recovery_code=1, roles=["admin"]), [PHONE], ADMINISTER, ASK_WITHOUT_CODES),
        (claims(password=1, roles=["admin"]), [], ADMINISTER, EnrolFirst()),
        (claims("aal2", totp=1, roles=["Admin", "administrator"]), [PHONE], ADMINISTER, Deny("role")),
        (claims("aal2", stamped=False, totp=10), [PHONE], NOTES, Deny("unstamped")),
        (claims(stamped=False, password=10), [], NOTES, Deny("unstamped")),
    ],
)
def test_decisions(who, factors, action, decision):
    assert decide(who, factors, action, OPTIONAL, now=NOW) == decision


@pytest.mark.parametrize(
    ("who", "factors", "action", "policy", "decision"),
    [
        (claims(password=1), [], NOTES, Policy("encouraged"), Allow()),
        (claims(password=1), [], NOTES, REQUIRED, EnrolFirst()),
        (claims(password=1), [], NOTES, CLOSED, Deny("closed")),
        (claims("aal2", totp=1), [PHONE], NOTES, CLOSED, Allow()),  # who has one is not touched
        (claims(password=1), [PHONE], NOTES, CLOSED, ASK),
        (claims(password=1), [], SECURITY, REQUIRED, Allow()),  # the way out
        (claims(password=1), [], ADD_FACTOR, REQUIRED, Allow()),
        (claims(password=1), [], FINISH_FACTOR, REQUIRED, Allow()),
        (claims(password=1), [], DELETE, REQUIRED, Allow()),
        (claims("aal2", totp=1), [PHONE], REMOVE_LAST_FACTOR, REQUIRED, Deny("last")),
        (claims("aal2", totp=1, roles=["admin"]), [PHONE], REMOVE_LAST_FACTOR, ADMINS, Deny("last")),
        (claims("aal2", totp=1), [PHONE], REMOVE_LAST_FACTOR, ADMINS, Allow()),
        (claims(password=1), [], ADD_FACTOR, Policy(enrolment=False), Deny("closed")),
        (claims(password=1), [], FINISH_FACTOR, Policy(enrolment=False), Deny("closed")),
        (claims("aal2", totp=1), [PHONE], ADD_FACTOR, Policy(enrolment=False), Deny("closed")),
        (claims(password=1), [], NOTES, Policy(enrolment=False), Allow()),
        (claims(password=1), [], BILLING, Policy(enrolment=False), Deny("closed")),
        (claims(password=1, roles=["admin"]), [], NOTES, ADMINS, EnrolFirst()),
        (claims(password=1, roles=["clerk"]), [], NOTES, ADMINS, Allow()),
        (claims("aal2", totp=1, roles=["admin"]), [PHONE], NOTES, ADMINS, Allow()),
    ],
)
def test_policy(who, factors, action, policy, decision):
    assert decide(who, factors, action, policy, now=NOW) == decision


methods = st.sampled_from(
    [*sorted(FACTOR_METHODS), "password", "otp", "trusted_device", "mfa/phone", "passkey", "oauth", "TOTP", ""]
)
people = st.builds(
    Claims,
    st.just("user"),
    st.just("session"),
    st.just("alice@example.com"),
    st.sampled_from(["aal1", "aal2", "aal3", "", "AAL2"]),
    st.lists(st.builds(Proof, methods, st.integers(NOW - 4000, NOW + 100)), max_size=4).map(tuple),
    st.booleans(),
    st.sets(st.sampled_from(["admin", "clerk", "Admin"])).map(frozenset),
)
owned = st.sampled_from([(), (PHONE,), (PHONE, replace(PHONE, id="g", type="webauthn"))])
actions = st.sampled_from(sorted(ACTIONS.values(), key=lambda action: action.name))
policies = st.builds(
    Policy,
    st.sampled_from(["optional", "encouraged", "required"]),
    st.sets(st.sampled_from(["admin", "clerk"])).map(frozenset),
    st.booleans(),
)


def allows(*arguments, now=NOW):
    return decide(*arguments, now=now) == Allow()


@given(people, owned, actions, policies)
def test_no_allow_without_a_live_factor_where_policy_wants_one(who, factors, action, policy):
    if allows(who, factors, action, policy) and policy.wants_factor(who.roles, action):
        assert factors
        assert who.aal == "aal2"
        assert any(proof.method in action.freshness.methods and proof.at < NOW + 30 for proof in who.amr)


@given(people, owned, actions, policies)
def test_whoever_has_a_factor_proves_it_whatever_the_policy(who, factors, action, policy):
    if factors and allows(who, factors, action, policy):
        fresh = [proof for proof in who.amr if proof.method in action.freshness.methods and proof.at < NOW + 30]
        assert who.aal == "aal2" and fresh
        assert action.freshness.max_age is None or NOW - max(proof.at for proof in fresh) < action.freshness.max_age


@given(people, owned, actions, policies, st.integers(0, 5000))
def test_waiting_never_helps(who, factors, action, policy, seconds):
    # But for entries ahead of our clock, which begin to count when their time has come.
    if all(proof.at <= NOW for proof in who.amr) and allows(who, factors, action, policy, now=NOW + seconds):
        assert allows(who, factors, action, policy)


@given(people, owned, actions, policies, st.builds(Proof, st.text(max_size=9), st.integers(NOW - 100, NOW)))
def test_what_is_unknown_never_helps(who, factors, action, policy, proof):
    if proof.method not in FACTOR_METHODS | {"password", "otp", "trusted_device"}:
        more = replace(who, amr=(*who.amr, proof))
        assert decide(more, factors, action, policy, now=NOW) == decide(who, factors, action, policy, now=NOW)


@given(people, owned, actions, policies, st.integers(0, 3))
def test_a_proof_that_is_missing_never_helps(who, factors, action, policy, nth):
    less = replace(who, amr=who.amr[:nth] + who.amr[nth + 1 :])
    assert allows(who, factors, action, policy) or not allows(less, factors, action, policy)


@given(people, owned, actions, policies)
def test_a_stricter_policy_never_opens_anything(who, factors, action, policy):
    if allows(who, factors, action, replace(policy, demand="required")):
        assert allows(who, factors, action, policy)
    if allows(who, factors, action, replace(policy, enrolment=False)):
        assert allows(who, factors, action, replace(policy, enrolment=True))


@given(people, owned, actions, policies)
def test_nothing_is_open_to_unstamped_tokens_and_to_other_roles(who, factors, action, policy):
    if not who.stamped or action.role and action.role not in who.roles:
        assert isinstance(decide(who, factors, action, policy, now=NOW), Deny)


@given(people, owned, actions, policies)
def test_what_is_asked_for_can_be_given(who, factors, action, policy):
    """Whoever does as they are told gets in: no loop between two pages that send people to each other."""
    match decide(who, factors, action, policy, now=NOW):
        case Challenge(by_code=by_code):
            for method in ["totp", "mfa/webauthn", *(["recovery_code"] if by_code else [])]:
                proven = replace(who, aal="aal2", amr=(*who.amr, Proof(method, NOW)))
                assert allows(proven, factors, action, policy)
        case EnrolFirst():
            enrolling = replace(who, amr=(*who.amr, Proof("password", NOW)))
            assert allows(enrolling, (), SECURITY, policy) and allows(enrolling, (), ADD_FACTOR, policy)
            proven = replace(who, aal="aal2", amr=(*who.amr, Proof("totp", NOW)))
            assert allows(proven, (PHONE,), action, policy)
        case SignInAgain():
            assert allows(replace(who, amr=(*who.amr, Proof("password", NOW))), factors, action, policy)


def test_every_action_is_in_the_table_under_its_name():
    assert {action.name for action in ACTIONS.values()} == set(ACTIONS)
    assert len({action.what for action in ACTIONS.values()}) == len(ACTIONS)


def test_the_age_of_a_factor_is_that_of_the_latest_proof():
    assert factor_age(claims("aal2", totp=50, mfa__webauthn=20, password=1), now=NOW) == 20


def test_below_aal2_no_factor_has_an_age():
    assert factor_age(claims(totp=50), now=NOW) is None


def test_the_age_of_a_sign_in_is_that_of_password_or_mail():
    assert sign_in_age(claims("aal2", totp=1, password=50, otp=20), now=NOW) == 20
    assert sign_in_age(claims("aal2", totp=1), now=NOW) is None


@pytest.mark.parametrize(
    ("who", "left", "opened"),
    [
        (claims("aal2", password=20, recovery_code=10), 0, True),
        (claims("aal2", password=20, recovery_code=10), 1, False),
        (claims("aal2", password=20, recovery_code=10), None, False),  # they went with the last factor
        (claims("aal2", recovery_code=10, totp=5), 0, False),  # the phone was found again
        (claims("aal2", recovery_code=10, totp=20), 0, True),
        (claims("aal2", totp=10), 0, False),
        (claims(), 0, False),
    ],
)
def test_whether_the_last_code_opened_a_session(who, left, opened):
    assert opened_by_the_last_code(who, left) is opened
