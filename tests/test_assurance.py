"""decide(): what a session may do, by arithmetic alone."""

import pytest

from auth.assurance import SENSITIVE, SIGNED_IN, Allow, Challenge, Deny, Factor, SignInAgain, decide, factor_age
from auth.tokens import Claims, Proof

NOW = 1_790_000_000
PHONE = Factor(id="f", type="totp", name="Phone", created_at=NOW - 9999)


def claims(aal="aal1", *, stamped=True, **ages):
    amr = tuple(Proof(method.replace("__", "/"), NOW - age) for method, age in ages.items())
    return Claims("user", "session", "alice@example.com", aal, amr, stamped)


@pytest.mark.parametrize(
    ("who", "factors", "max_age", "decision"),
    [
        (claims(password=10), [], SIGNED_IN, Allow()),
        (claims(password=299), [], SENSITIVE, Allow()),
        (claims(password=300), [], SENSITIVE, SignInAgain()),
        (claims(otp=10), [], SENSITIVE, Allow()),
        (claims(unheard_of=10), [], SENSITIVE, SignInAgain()),
        (claims(), [], SENSITIVE, SignInAgain()),
        (claims(password=10), [PHONE], SIGNED_IN, Challenge((PHONE,))),
        (claims(password=10, totp=10), [PHONE], SIGNED_IN, Challenge((PHONE,))),  # aal1 all the same
        (claims("aal2", password=9999, totp=9000), [PHONE], SIGNED_IN, Allow()),
        (claims("aal2", totp=299), [PHONE], SENSITIVE, Allow()),
        (claims("aal2", totp=300), [PHONE], SENSITIVE, Challenge((PHONE,))),
        (claims("aal2", password=10, totp=301), [PHONE], SENSITIVE, Challenge((PHONE,))),
        (claims("aal2", mfa__webauthn=10), [PHONE], SENSITIVE, Allow()),
        (claims("aal2", recovery_code=10), [PHONE], SENSITIVE, Allow()),
        (claims("aal2", trusted_device=10), [PHONE], SENSITIVE, Challenge((PHONE,))),
        (claims("aal2", mfa__phone=10), [PHONE], SENSITIVE, Challenge((PHONE,))),
        (claims("aal2", totp=-29), [PHONE], SENSITIVE, Allow()),  # clocks differ
        (claims("aal2", totp=-31), [PHONE], SENSITIVE, Challenge((PHONE,))),  # but not that much
        (claims("aal3", totp=10), [PHONE], SIGNED_IN, Challenge((PHONE,))),
        (claims("", totp=10), [PHONE], SIGNED_IN, Challenge((PHONE,))),
        (claims("aal2", stamped=False, totp=10), [PHONE], SIGNED_IN, Deny()),
        (claims(stamped=False, password=10), [], SIGNED_IN, Deny()),
    ],
)
def test_decisions(who, factors, max_age, decision):
    assert decide(who, factors, max_age=max_age, now=NOW) == decision


def test_the_age_of_a_factor_is_that_of_the_latest_proof():
    assert factor_age(claims("aal2", totp=50, mfa__webauthn=20, password=1), now=NOW) == 20


def test_below_aal2_no_factor_has_an_age():
    assert factor_age(claims(totp=50), now=NOW) is None
