"""decide(): what a session may do, by arithmetic alone."""

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auth.assurance import (
    ACTIONS,
    ADD_FACTOR,
    ADMINISTER,
    BILLING,
    DELETE,
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
        (claims("aal2", trusted_device=1), [PHONE], DELETE, ASK_WITHOUT_CODES),
        (claims("aal2", totp=299), [PHONE], BILLING, Allow()),
        (claims("aal2", totp=301), [PHONE], BILLING, ASK),
        (claims("aal2", totp=10), [PHONE], ADMINISTER, Deny("role")),
        (claims("aal2", totp=1799, roles=["admin"]), [PHONE], ADMINISTER, Allow()),
        (claims("aal2", totp=1800, roles=["admin"]), [PHONE], ADMINISTER, ASK_WITHOUT_CODES),
        (claims("aal2", recovery_code=1, roles=["admin"]), [PHONE], ADMINISTER, ASK_WITHOUT_CODES),
        (claims("aal2", trusted_device=1, roles=["admin"]), [PHONE], ADMINISTER, ASK_WITHOUT_CODES),
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


# By name: how old a proof may be, and of what; whether there has to be a second factor; and who alone may do it.
# Typed out and not imported, so that a slip in auth/assurance.py is none here.
ANY_FACTOR = {"totp", "mfa/webauthn", "recovery_code"}
NOT_FROM_PAPER = {"totp", "mfa/webauthn"}
TABLE = {
    "notes": (None, ANY_FACTOR | {"trusted_device"}, "by policy", None),
    "security": (300, ANY_FACTOR, "never", None),
    "add-factor": (300, ANY_FACTOR, "never", None),
    "finish-factor": (None, ANY_FACTOR | {"trusted_device"}, "never", None),
    "recovery-codes": (300, ANY_FACTOR, "never", None),
    "remove-factor": (300, ANY_FACTOR, "by policy", None),
    "remove-last-factor": (60, NOT_FROM_PAPER, "never", None),
    "password": (300, ANY_FACTOR, "never", None),
    "address": (300, ANY_FACTOR, "by policy", None),
    "billing": (300, ANY_FACTOR, "always", None),
    "export": (60, NOT_FROM_PAPER, "by policy", None),
    "delete": (60, NOT_FROM_PAPER, "never", None),
    "admin": (1800, NOT_FROM_PAPER, "always", "admin"),
}
KNOWN = ANY_FACTOR | {"trusted_device", "password", "otp"}
UNKNOWN = {"mfa/phone", "TOTP", ""}
FAR = 10_000


def has_live_proof(who, methods, max_age):
    return any(proof.method in methods and -30 < NOW - proof.at < (max_age or math.inf) for proof in who.amr)


def has_to_have_a_factor(who, policy, demand):
    wanted = policy.demand == "required" or bool(policy.roles & who.roles)
    return demand == "always" or demand == "by policy" and wanted


def expected(who, factors, action, policy):
    """What the table makes of it."""
    max_age, methods, demand, role = TABLE[action.name]
    if not who.stamped:
        return Deny("unstamped")
    if role and role not in who.roles:
        return Deny("role")
    if action.name in {"add-factor", "finish-factor"} and not policy.enrolment:
        return Deny("closed")
    if action.name == "remove-last-factor" and has_to_have_a_factor(who, policy, "by policy"):
        return Deny("last")
    if factors:
        proven = who.aal == "aal2" and has_live_proof(who, methods, max_age)
        return Allow() if proven else Challenge(factors, by_code="recovery_code" in methods)
    if has_to_have_a_factor(who, policy, demand):
        return EnrolFirst() if policy.enrolment else Deny("closed")
    return Allow() if max_age is None or has_live_proof(who, {"password", "otp"}, max_age) else SignInAgain()


def near(name):
    """Situations around the border of an action. Far from it nearly everything is refused, for several reasons."""
    max_age, methods, _, role = TABLE[name]
    border = max_age or FAR
    ages = [0, *[border - 1] * 3, -29, border, border + 1, 2 * border, -30, -31, -FAR]

    def proofs(methods):
        return st.sampled_from([Proof(method, NOW - age) for method in sorted(methods) for age in ages])

    who = st.builds(
        Claims,
        st.just("user"),
        st.just("session"),
        st.just("alice@example.com"),
        st.sampled_from([*["aal2"] * 12, "aal1", "aal3", "", "unheard of"]),
        st.tuples(proofs(methods | {"password", "otp"}), proofs(KNOWN | UNKNOWN)),
        st.sampled_from([*[True] * 7, False]),
        st.sampled_from([frozenset(roles) for roles in [(), ("admin",), ("clerk", role or "clerk"), ("Admin",)]]),
    )
    return st.tuples(who, owned, st.just(ACTIONS[name]), policies)


owned = st.sampled_from([(), (PHONE, replace(PHONE, id="g", type="webauthn"))])
policies = st.sampled_from(
    [
        Policy(demand, frozenset(roles), enrolment)
        for demand in ("optional", "encouraged", "required", "required")
        for roles in [(), ("admin",), ("clerk", "auditor")]
        for enrolment in (True, True, False)
    ]
)
# Twice those that are refused for a reason of their own.
situations = st.one_of([near(name) for name in [*TABLE, "admin", "remove-last-factor"]])
often = settings(max_examples=500, deadline=None)


def allows(*situation, now=NOW):
    return decide(*situation, now=now) == Allow()


def test_every_action_is_in_the_table_as_it_is_typed_out_here():
    rows = {
        name: (action.freshness.max_age, action.freshness.methods, action.factor, action.role)
        for name, action in ACTIONS.items()
    }
    assert rows == TABLE


def test_every_answer_is_that_of_the_table_and_each_comes_up_often():
    reached = Counter()

    @settings(often, max_examples=2500, derandomize=True)  # it counts, and chance must not fail it
    @given(situations)
    def agrees(situation):
        answer = decide(*situation, now=NOW)
        assert answer == expected(*situation)
        reached[answer] += 1
        reached["opened by a factor"] += bool(situation[1]) and answer == Allow()
        reached["opened at the last second"] += answer == Allow() != decide(*situation, now=NOW + 1)

    agrees()
    assert len(reached) == 11
    assert min(reached.values()) > 100, reached


@often
@given(situations)
def test_nothing_opens_without_a_live_factor_where_there_is_or_has_to_be_one(situation):
    who, factors, action, policy = situation
    max_age, methods, demand, _ = TABLE[action.name]
    if allows(*situation) and (factors or has_to_have_a_factor(who, policy, demand)):
        assert factors
        assert who.aal == "aal2"
        assert has_live_proof(who, methods, max_age)


@often
@given(situations, st.sampled_from([1, 50, 250, 1500, 5000]))
def test_waiting_never_helps(situation, seconds):
    who, *rest = situation
    # Not said of entries ahead of our clock, which begin to count when their time has come.
    who = replace(who, amr=tuple(proof for proof in who.amr if proof.at <= NOW))
    assert allows(who, *rest) or not allows(who, *rest, now=NOW + seconds)


@often
@given(situations, st.builds(Proof, st.sampled_from(sorted(UNKNOWN)) | st.text(max_size=9), st.just(NOW)))
def test_what_is_unknown_never_helps(situation, proof):
    who, *rest = situation
    if proof.method not in KNOWN:
        assert decide(replace(who, amr=(*who.amr, proof)), *rest, now=NOW) == decide(*situation, now=NOW)


@often
@given(situations, st.integers(0, 1))
def test_a_proof_that_is_missing_never_helps(situation, nth):
    who, *rest = situation
    less = replace(who, amr=who.amr[:nth] + who.amr[nth + 1 :])
    assert allows(*situation) or not allows(less, *rest)


@often
@given(situations)
def test_a_stricter_policy_never_opens_anything(situation):
    *asked, policy = situation
    if allows(*asked, replace(policy, demand="required")):
        assert allows(*asked, policy)
    if allows(*asked, replace(policy, enrolment=False)):
        assert allows(*asked, replace(policy, enrolment=True))


@often
@given(situations)
def test_nothing_is_open_to_unstamped_tokens_and_to_other_roles(situation):
    who, _, action, _ = situation
    if not who.stamped or action.name == "admin" and "admin" not in who.roles:
        assert isinstance(decide(*situation, now=NOW), Deny)


@often
@given(situations)
def test_what_is_asked_for_can_be_given(situation):
    """Whoever does as they are told gets in: no loop between two pages that send people to each other."""
    who, factors, action, policy = situation
    match decide(*situation, now=NOW):
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


def test_a_factor_that_was_proven_ahead_of_our_clock_was_proven_now():
    assert factor_age(claims("aal2", totp=-29), now=NOW) == 0


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
