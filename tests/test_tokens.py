"""verified(): which access tokens are believed."""

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from auth.refusals import SignInRequired, Unavailable
from auth.tokens import KeySet, Proof, verified

NOW = 1_790_000_000
ISSUER = "https://project.example/auth/v1"
KEY, STRANGERS_KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
PAYLOAD = {
    "iss": ISSUER,
    "sub": "user",
    "aud": "authenticated",
    "role": "authenticated",
    "iat": NOW - 60,
    "exp": NOW + 60,
    "email": "alice@example.com",
    "session_id": "session",
    "aal": "aal2",
    "amr": [{"method": "totp", "timestamp": NOW - 60}],
    "assurance": "stamped",
}


def jwks():
    public = jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
    return {"keys": [public | {"kid": "one", "alg": "ES256", "use": "sig"}]}


def check(token, fetch=jwks):
    return verified(token, KeySet(fetch, lambda: NOW), issuer=ISSUER, now=NOW)


def signed(key=KEY, algorithm="ES256", kid="one", **changes):
    payload = {name: value for name, value in (PAYLOAD | changes).items() if value is not None}
    return jwt.encode(payload, key, algorithm=algorithm, headers={"kid": kid})


def test_a_good_token_gives_its_claims():
    claims = check(signed())
    assert (claims.user_id, claims.session_id, claims.aal, claims.stamped) == ("user", "session", "aal2", True)
    assert claims.amr == (Proof("totp", NOW - 60),)


def test_a_token_without_our_hooks_stamp_says_so():
    assert not check(signed(assurance=None)).stamped
    assert not check(signed(assurance=True)).stamped


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://other.example/auth/v1"},
        {"iss": None},
        {"aud": "other"},
        {"aud": None},
        {"role": "service_role"},
        {"role": None},
        {"exp": NOW},
        {"exp": None},
        {"exp": "tomorrow"},
        {"iat": NOW + 31},
        {"iat": None},
        {"nbf": NOW + 1},
        {"sub": None},
        {"session_id": None},
        {"aal": None},
        {"amr": None},
        {"amr": ["totp"]},
        {"amr": [{"method": "totp"}]},
        {"amr": 5},
    ],
)
def test_a_token_with_a_wrong_or_missing_claim_is_not_believed(change):
    with pytest.raises(SignInRequired):
        check(signed(**change))


@pytest.mark.parametrize(
    "token",
    [
        signed(STRANGERS_KEY),
        signed(kid="two"),
        signed(b"0" * 32, "HS256"),
        jwt.encode(PAYLOAD, None, algorithm="none", headers={"kid": "one"}),
        signed()[:-4] + "AAAA",
        "a.b.c",
        "",
        "not a token",
    ],
    ids=["stranger's key", "unknown key id", "HS256", "none", "cut signature", "three parts", "empty", "words"],
)
def test_a_token_that_was_not_signed_by_this_project_is_not_believed(token):
    with pytest.raises(SignInRequired):
        check(token)


def test_when_the_keys_cannot_be_had_nothing_is_said_about_the_token():
    def fetch():
        raise Unavailable

    with pytest.raises(Unavailable):
        check(signed(), fetch)


def test_unknown_key_ids_do_not_make_us_fetch_again_and_again():
    fetched, now = [], [NOW]

    def fetch():
        fetched.append(now[0])
        return jwks()

    keys = KeySet(fetch, lambda: now[0])
    for kid in ("one", "two", "three", "one"):
        keys.key(kid)
    assert fetched == [NOW]
    now[0] += 11
    keys.key("two")
    keys.key("one")
    assert fetched == [NOW, NOW + 11]
    now[0] += 601
    assert keys.key("one")
    assert fetched == [NOW, NOW + 11, NOW + 612]
