"""24,000 mutated passkey responses, from fixed seeds: each is refused in our own words, or as good as an honest one."""

import json
import random
from collections import Counter
from contextlib import contextmanager
from decimal import Decimal
from functools import cache, partial
from hashlib import sha256

import cbor2
import pytest

from auth.passkeys import (
    ALGORITHMS,
    Passkey,
    RelyingParty,
    authentication_options,
    posted_credential_id,
    registration_options,
    verify_authentication,
    verify_registration,
)
from auth.refusals import Refused
from tests.authenticator import NEW_KEY, Authenticator, altered, from_base64url

RP = RelyingParty("localhost", "Stepup", ("http://localhost:5000",))
CHALLENGE, HANDLE = bytes(range(32)), b"a" * 64
NEW_KEYS = [cache(new_key) for new_key in NEW_KEY.values()]  # one key of each algorithm: RSA keys take long to find
OPTIONS = registration_options(
    RP, user_handle=HANDLE, user_name="alice@example.com", display_name="Alice", challenge=CHALLENGE
)
CHUNKS, RESPONSES = range(12), 1000  # for each of two ceremonies


@pytest.mark.parametrize("seed", CHUNKS)
def test_mutated_registrations_end_in_our_own_refusal(seed):
    rng = random.Random(f"registration {seed}")
    device = Authenticator(new_key=NEW_KEYS[seed % 3])
    ends = Counter()
    for _ in range(RESPONSES):
        posted = rng.choice(REGISTRATION_MUTATIONS)(rng, partial(device.create, OPTIONS))
        with counting(ends, f"seed {seed}, {posted!r}"):
            new = verify_registration(RP, credential=posted, challenge=CHALLENGE)
            client_data, attestation = parts(posted, "clientDataJSON", "attestationObject")
            assert_ours(client_data, cbor2.loads(attestation)["authData"], "webauthn.create")
            assert new.credential_id == from_base64url(json.loads(posted)["id"]) == device.credentials[0].id
            assert new.algorithm in ALGORITHMS
            assert new.user_verified
            assert new.backup_eligible or not new.backed_up
    assert ends["accepted"] and len(ends) > 5, ends


@pytest.mark.parametrize("seed", CHUNKS)
def test_mutated_assertions_end_in_our_own_refusal(seed):
    rng = random.Random(f"authentication {seed}")
    device = Authenticator(new_key=NEW_KEYS[seed % 3], counts=seed % 2 == 0)
    new = verify_registration(RP, credential=device.create(OPTIONS), challenge=CHALLENGE)
    passkey = Passkey(
        credential_id=new.credential_id,
        user_id="alice",
        public_key=new.public_key,
        sign_count=new.sign_count,
        transports=new.transports,
        aaguid=new.aaguid,
        name="Passkey",
        backup_eligible=new.backup_eligible,
        backed_up=new.backed_up,
    )
    options = authentication_options(RP, challenge=CHALLENGE)
    ends = Counter()
    for _ in range(RESPONSES):
        posted = rng.choice(AUTHENTICATION_MUTATIONS)(rng, partial(device.get, options))
        with counting(ends, f"seed {seed}, {posted!r} for {passkey!r}"):
            assertion = verify_authentication(
                RP, credential=posted, challenge=CHALLENGE, passkey=passkey, user_handle=HANDLE, asked_user=None
            )
            members = ("clientDataJSON", "authenticatorData", "signature", "userHandle")
            client_data, auth_data, signature, user_handle = parts(posted, *members)
            assert_ours(client_data, auth_data, "webauthn.get")
            device.credentials[0].verify(signature, auth_data + sha256(client_data).digest())
            assert user_handle == HANDLE
            assert posted_credential_id(posted) == assertion.credential_id == passkey.credential_id
    assert ends["accepted"] and len(ends) > 3, ends


@contextmanager
def counting(ends, case):
    try:
        yield
        ends["accepted"] += 1
    except Refused as refusal:
        ends[type(refusal.__cause__ or refusal).__name__] += 1
    except BaseException as error:  # a panic in Rust is no Exception
        error.add_note(case)
        raise


def parts(posted, *names):
    response = json.loads(posted)["response"]
    return [from_base64url(response[name]) for name in names]


def assert_ours(client_data, auth_data, ceremony):
    """What a response has to say to be accepted, read without the library."""
    said = json.loads(client_data)
    assert (said["type"], from_base64url(said["challenge"])) == (ceremony, CHALLENGE)
    assert said["origin"] in RP.origins
    assert not said.get("crossOrigin") and "topOrigin" not in said
    assert auth_data[:32] == sha256(RP.id.encode()).digest()
    assert auth_data[32] & 0b101 == 0b101


def mangled(rng, raw):
    """Bytes with some of them flipped, doubled, left out or replaced, or cut off."""
    start = rng.randrange(len(raw) + 1)
    end = min(start + rng.randint(1, 8), len(raw))
    flipped = bytes(byte ^ 1 << rng.randrange(8) for byte in raw[start : start + 1])
    telling = bytes([rng.choice(TELLING_BYTES)])
    return rng.choice(
        [
            raw[:start],
            raw[:start] + raw[end:],
            raw[:end] + raw[start:],
            raw[:start] + flipped + raw[start + 1 :],
            raw[:start] + telling + raw[start + 1 :],
            raw[:start] + telling + raw[start:],
            raw[:start] + rng.randbytes(end - start) + raw[end:],
        ]
    )


def rearranged(rng, value, junk):
    """A structure with one of its parts left out, doubled, mangled, or replaced by something of another type."""
    match value:
        case dict() if value and rng.random() < 0.9:
            name = rng.choice(list(value))
            rest = {key: kept for key, kept in value.items() if key != name}
            other = rng.choice(["id", "type", "sig", 1, 3, -2, 99]) if 3 in value else rng.choice(["id", "type", "x5c"])
            changed = value | {name: rearranged(rng, value[name], junk)}
            return rng.choice([rest, rest | {other: value[name]}, changed, changed, changed, changed])
        case list() if value and rng.random() < 0.9:
            at = rng.randrange(len(value))
            return rng.choice([value + value, [*value[:at], rearranged(rng, value[at], junk), *value[at + 1 :]]])
        case bytes() if rng.random() < 0.7:
            return mangled(rng, value)
        case str() if rng.random() < 0.5:
            return mangled(rng, value.encode()).decode(errors="replace")
    return rng.choice(junk)


def before_signing(name, change):
    return lambda rng, ceremony: ceremony(**{name: partial(change, rng)})


def on_the_way(member):
    return lambda rng, ceremony: altered(ceremony(), member, partial(mangled, rng))


JUNK = [None, True, 0, -1, 1.5, 2**70, "", "é", "\ud800", "A", "\x00", "none", [], {}, [[[]]], {"a": {}}]
CBOR_JUNK = [
    *(junk for junk in JUNK if junk != "\ud800"),
    b"",
    b"\x04" * 65,
    2**5000,
    -7.0,
    float("nan"),
    Decimal("1E+999999999"),
    cbor2.undefined,
    cbor2.CBORSimpleValue(99),
    cbor2.CBORTag(35, "(a*)*"),
    cbor2.CBORTag(29, 0),
    cbor2.CBORTag(30, [1, 0]),
    cbor2.CBORTag(0, "yesterday"),
]
TELLING_BYTES = bytes.fromhex("00 01 04 1b 3b 40 5b 5f 60 7f 80 9b 9f a0 bb bf c0 c2 d8 f4 f6 f7 f9 fb ff")
EITHER_MUTATION = [
    before_signing("client_data", mangled),
    before_signing("client_data", lambda rng, raw: json.dumps(rearranged(rng, json.loads(raw), JUNK)).encode()),
    before_signing("auth_data", mangled),
    before_signing("response", lambda rng, posted: rearranged(rng, posted, JUNK)),
    on_the_way("clientDataJSON"),
    lambda rng, ceremony: mangled(rng, ceremony().encode()).decode(errors="surrogateescape"),
]
REGISTRATION_MUTATIONS = EITHER_MUTATION + [
    before_signing("cose", lambda rng, key: rearranged(rng, key, CBOR_JUNK)),
    before_signing("attestation", mangled),
    before_signing("attestation", lambda rng, raw: cbor2.dumps(rearranged(rng, cbor2.loads(raw), CBOR_JUNK))),
]
AUTHENTICATION_MUTATIONS = EITHER_MUTATION + [
    before_signing("signature", mangled),
    on_the_way("authenticatorData"),
]
