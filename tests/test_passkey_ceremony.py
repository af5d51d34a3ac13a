"""auth.passkeys: every check of a ceremony with real signatures, right and wrong."""

import json
from dataclasses import replace
from decimal import Decimal
from functools import cache
from time import process_time

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from webauthn.helpers import parse_authentication_options_json, parse_registration_options_json

from auth.passkeys import (
    ALGORITHMS,
    MAX_RESPONSE_CHARACTERS,
    Assertion,
    NewPasskey,
    Passkey,
    RelyingParty,
    authentication_options,
    posted_credential_id,
    registration_options,
    verify_authentication,
    verify_registration,
)
from auth.refusals import CeremonyFailed, PasskeySuspect
from tests.authenticator import (
    NEW_KEY,
    AlreadyRegistered,
    Authenticator,
    NotAllowed,
    altered,
    from_base64url,
    to_base64url,
)

RP = RelyingParty("localhost", "Stepup", ("http://localhost:5000", "https://related.example"))
CHALLENGE, OTHER_CHALLENGE = bytes(range(32)), bytes(32)
HANDLE, OTHER_HANDLE = b"a" * 64, b"m" * 64
ALICE, MALLORY = "alice", "mallory"
ICLOUD = "fbfc3007-154e-4ecc-8c0b-6e020557d7bd"
NO_AAGUID = "00000000-0000-0000-0000-000000000000"
one_key = {name: cache(new_key) for name, new_key in NEW_KEY.items()}  # RSA keys take long to find


@pytest.fixture(params=NEW_KEY)
def device(request):
    return Authenticator(new_key=one_key[request.param])


@pytest.fixture
def passkey(device):
    return stored(register(device))


def creation_options(**changes):
    asked = {"user_handle": HANDLE, "user_name": "alice@example.com", "display_name": "Alice", "challenge": CHALLENGE}
    return registration_options(RP, **(asked | changes))


def register(device, *, conditional=False, **wrong):
    posted = device.create(creation_options(conditional=conditional), **wrong)
    return verify_registration(RP, credential=posted, challenge=CHALLENGE, conditional=conditional)


def stored(new, **changes):
    passkey = Passkey(
        credential_id=new.credential_id,
        user_id=ALICE,
        public_key=new.public_key,
        sign_count=new.sign_count,
        transports=new.transports,
        aaguid=new.aaguid,
        name="Passkey",
        backup_eligible=new.backup_eligible,
        backed_up=new.backed_up,
    )
    return replace(passkey, **changes)


def sign_in(device, passkey, *, asked_user=None, **wrong):
    allow = [] if asked_user is None else [passkey]
    posted = device.get(authentication_options(RP, challenge=CHALLENGE, allow=allow), **wrong)
    return check(posted, passkey, asked_user=asked_user)


def check(posted, passkey, *, asked_user=None):
    return verify_authentication(
        RP, credential=posted, challenge=CHALLENGE, passkey=passkey, user_handle=HANDLE, asked_user=asked_user
    )


# Options


def test_a_browser_is_asked_for_a_passkey_on_this_device():
    have = stored(register(Authenticator(transports=("internal", "hybrid"))))
    options = creation_options(exclude=[have], kind="platform")
    assert options == {
        "rp": {"id": "localhost", "name": "Stepup"},
        "user": {"id": to_base64url(HANDLE), "name": "alice@example.com", "displayName": "Alice"},
        "challenge": to_base64url(CHALLENGE),
        "pubKeyCredParams": [{"type": "public-key", "alg": algorithm} for algorithm in (-7, -8, -257)],
        "timeout": 300_000,
        "excludeCredentials": [
            {"type": "public-key", "id": to_base64url(have.credential_id), "transports": ["hybrid", "internal"]}
        ],
        "authenticatorSelection": {
            "authenticatorAttachment": "platform",
            "residentKey": "required",
            "requireResidentKey": True,
            "userVerification": "required",
        },
        "hints": ["client-device"],
        "attestation": "none",
    }


def test_a_browser_is_asked_for_a_security_key():
    options = creation_options(kind="cross-platform", timeout_ms=1000)
    assert options["authenticatorSelection"]["authenticatorAttachment"] == "cross-platform"
    assert options["hints"] == ["security-key"]
    assert options["timeout"] == 1000


def test_without_a_kind_nothing_is_preferred():
    options = creation_options()
    assert "authenticatorAttachment" not in options["authenticatorSelection"]
    assert options["hints"] == []


def test_only_a_conditional_registration_does_without_user_verification():
    assert creation_options()["authenticatorSelection"]["userVerification"] == "required"
    assert creation_options(conditional=True)["authenticatorSelection"]["userVerification"] == "preferred"


def test_a_browser_is_asked_for_any_passkey_of_this_site():
    assert authentication_options(RP, challenge=CHALLENGE) == {
        "rpId": "localhost",
        "challenge": to_base64url(CHALLENGE),
        "timeout": 300_000,
        "allowCredentials": [],
        "userVerification": "required",
        "hints": [],
    }


@pytest.mark.parametrize(
    ("transports", "hints"),
    [
        ([("internal",)], ["client-device"]),
        ([("usb",), ("nfc", "usb")], ["security-key"]),
        ([("internal",), ("usb",)], []),
        ([("hybrid", "internal")], []),
        ([()], []),
    ],
)
def test_the_hint_at_sign_in_follows_from_the_passkeys_one_has(transports, hints):
    new = register(Authenticator())
    options = authentication_options(RP, challenge=CHALLENGE, allow=[stored(new, transports=t) for t in transports])
    assert options["hints"] == hints
    assert [known.get("transports", []) for known in options["allowCredentials"]] == [list(t) for t in transports]


def test_options_are_json_that_other_implementations_understand():
    have = stored(register(Authenticator()))
    creation = parse_registration_options_json(json.dumps(creation_options(exclude=[have], kind="platform")))
    request = parse_authentication_options_json(
        json.dumps(authentication_options(RP, challenge=CHALLENGE, allow=[have]))
    )
    assert (creation.user.id, creation.challenge, request.challenge) == (HANDLE, CHALLENGE, CHALLENGE)
    assert creation.exclude_credentials[0].id == request.allow_credentials[0].id == have.credential_id


def test_the_software_authenticator_says_no_as_browsers_do():
    device = Authenticator()
    passkey = stored(register(device))
    with pytest.raises(AlreadyRegistered):
        device.create(creation_options(exclude=[passkey]))
    with pytest.raises(NotAllowed):
        device.create(creation_options(kind="cross-platform"))
    with pytest.raises(NotAllowed):
        device.get(authentication_options(replace(RP, id="other.example"), challenge=CHALLENGE))
    with pytest.raises(NotAllowed):
        allow = [replace(passkey, credential_id=b"unknown")]
        device.get(authentication_options(RP, challenge=CHALLENGE, allow=allow))
    with pytest.raises(TypeError, match="orgin"):
        device.get(authentication_options(RP, challenge=CHALLENGE), orgin="misspelt")


# Registration


def test_a_registration_gives_what_has_to_be_stored(device):
    device.synced, device.aaguid = True, bytes.fromhex(ICLOUD.replace("-", ""))
    new = register(device, transports=["usb", "internal", "telepathy", "usb", 5, []])
    held = device.credentials[0]
    assert new == NewPasskey(
        credential_id=held.id,
        public_key=new.public_key,
        algorithm=cbor2.loads(new.public_key)[3],
        sign_count=1,
        transports=("internal", "usb"),
        aaguid=ICLOUD,
        attachment="platform",
        backup_eligible=True,
        backed_up=True,
        user_verified=True,
    )
    assert new.algorithm in ALGORITHMS


@pytest.mark.parametrize(
    "harmless",
    [
        {"origin": "https://related.example"},
        {"cross_origin": None},
        {"client_data": lambda data: data[:-1] + b', "other_keys_can_be_added_here": "do not compare"}'},
        {"transports": None},
        {"transports": "usb"},
        {"attachment": None},
        {"credential_id": bytes(16)},
        {"credential_id": bytes(1023)},
        {"be": True},
        {"be": True, "bs": True},
        {"count": 0},
        {"count": 2**32 - 1},
        {"response": lambda posted: posted | {"clientExtensionResults": {"credProps": {"rk": True}}}},
        {"response": lambda posted: posted | {"more": "x" * (MAX_RESPONSE_CHARACTERS - len(json.dumps(posted)) - 12)}},
    ],
)
def test_what_may_differ_between_honest_registrations(device, harmless):
    new = register(device, **harmless)
    assert new.credential_id == device.credentials[0].id


def test_an_upgrade_without_a_gesture_needs_neither_presence_nor_verification(device):
    new = register(device, conditional=True, up=False, uv=False)
    assert not new.user_verified


def without(name):
    return lambda members: {key: value for key, value in members.items() if key != name}


def with_response(**changes):
    return lambda posted: posted | {"response": posted["response"] | changes}


def flags_off(mask):
    return lambda data: data[:32] + bytes([data[32] & ~mask]) + data[33:]


EITHER_CEREMONY = {
    "no type": {"type": None},
    "another challenge": {"challenge": OTHER_CHALLENGE},
    "the start of the challenge": {"challenge": CHALLENGE[:16]},
    "no challenge": {"challenge": b""},
    "another origin": {"origin": "http://evil.example:5000"},
    "another port": {"origin": "http://localhost:5001"},
    "no port": {"origin": "http://localhost"},
    "another scheme": {"origin": "https://localhost:5000"},
    "a subdomain": {"origin": "http://a.localhost:5000"},
    "a slash more": {"origin": "http://localhost:5000/"},
    "an origin in capitals": {"origin": "HTTP://LOCALHOST:5000"},
    "a list of origins": {"origin": list(RP.origins)},
    "no origin": {"origin": None},
    "a foreign frame": {"cross_origin": True},
    "a foreign frame in words": {"cross_origin": "false"},
    "a foreign page around": {"top_origin": "https://evil.example"},
    "our own page around": {"top_origin": RP.origins[0]},
    "an empty page around": {"top_origin": ""},
    "another RP id": {"rp_id": "evil.example"},
    "nobody present": {"up": False},
    "nobody verified": {"uv": False},
    "backed up but not eligible": {"be": False, "bs": True},
    "another raw id": {"raw_id": bytes(32)},
    "another id": {"posted_id": bytes(32)},
    "a short id": {"credential_id": bytes(15), "posted_id": bytes(15)},
    "no id": {"response": without("id")},
    "an id that is a number": {"response": lambda posted: posted | {"id": 5}},
    "a raw id that is a list": {"response": lambda posted: posted | {"rawId": []}},
    "an id that is no base64": {"response": lambda posted: posted | {"id": "é", "rawId": "é"}},
    "half a character": {"response": lambda posted: posted | {"id": "\ud800", "rawId": "\ud800"}},
    "another kind of credential": {"response": lambda posted: posted | {"type": "password"}},
    "no kind of credential": {"response": without("type")},
    "a bogus attachment": {"attachment": "pocket"},
    "no response": {"response": without("response")},
    "a response that is a list": {"response": lambda posted: posted | {"response": [posted["response"]]}},
    "a response that is a string": {"response": lambda posted: posted | {"response": "yes"}},
    "a list": {"response": lambda posted: [posted]},
    "null": {"response": lambda posted: None},
    "a number": {"response": lambda posted: 5},
    "client data missing": {"response": with_response(clientDataJSON=None)},
    "client data that are bare": {"response": with_response(clientDataJSON={"type": "webauthn.get"})},
    "client data cut": {"client_data": lambda data: data[:-1]},
    "client data and a byte": {"client_data": lambda data: data + b"}"},
    "client data that are a list": {"client_data": lambda data: b"[" + data + b"]"},
    "client data that are a number": {"client_data": lambda data: b"5"},
    "client data that are empty": {"client_data": lambda data: b""},
    "client data that are no text": {"client_data": lambda data: b"\xff" + data},
    "client data that are deep": {"client_data": lambda data: b'{"a":' * 2000},
    "too much": {"response": lambda posted: posted | {"more": "x" * MAX_RESPONSE_CHARACTERS}},
    "one character too much": {
        "response": lambda posted: posted | {"more": "x" * (MAX_RESPONSE_CHARACTERS - len(json.dumps(posted)) - 11)}
    },
    "authenticator data cut": {"auth_data": lambda data: data[:-1]},
    "authenticator data cut short": {"auth_data": lambda data: data[:36]},
    "authenticator data that are empty": {"auth_data": lambda data: b""},
    "authenticator data and a byte": {"auth_data": lambda data: data + b"\x00"},
    "extensions announced": {"auth_data": lambda data: data[:32] + bytes([data[32] | 0x80]) + data[33:]},
}
REGISTRATION_LIES = EITHER_CEREMONY | {
    "an authentication": {"type": "webauthn.get"},
    "a long id": {"credential_id": bytes(1024)},
    "an empty id": {"credential_id": b""},
    "an id half as long as announced": {"auth_data": lambda data: data[: 37 + 18 + 16]},
    "an unknown format": {"fmt": "compound"},
    "a format that is a number": {"fmt": 5},
    "a format that is a list": {"fmt": ["none"]},
    "no format": {"fmt": None},
    "an empty format": {"fmt": ""},
    "a statement nobody asked for": {"att_stmt": {"sig": b"sig"}},
    "a statement that is a number": {"att_stmt": 5},
    "a self-signed statement with a bad signature": {"fmt": "packed", "att_stmt": {"alg": -7, "sig": b"sig"}},
    "a statement with a bad certificate": {"fmt": "packed", "att_stmt": {"alg": -7, "sig": b"sig", "x5c": [b"cert"]}},
    "U2F without a certificate": {"fmt": "fido-u2f", "att_stmt": {"sig": b"sig", "x5c": []}},
    "an empty TPM statement": {"fmt": "tpm"},
    "an empty Apple statement": {"fmt": "apple"},
    "an empty Android statement": {"fmt": "android-key"},
    "an empty SafetyNet statement": {"fmt": "android-safetynet"},
    "no authenticator data": {"attestation": lambda raw: cbor2.dumps({"fmt": "none", "attStmt": {}})},
    "authenticator data that are text": {
        "attestation": lambda raw: cbor2.dumps(cbor2.loads(raw) | {"authData": "x" * 200})
    },
    "no credential in it": {"auth_data": flags_off(0x40)},
    "attestation missing": {"response": with_response(attestationObject=None)},
    "attestation cut": {"attestation": lambda raw: raw[:-1]},
    "attestation that is empty": {"attestation": lambda raw: b""},
    "attestation that is a list": {"attestation": lambda raw: b"\x81" + raw},
    "attestation that is deep": {"attestation": lambda raw: b"\x81" * 9000},
    "attestation that claims to be endless": {"attestation": lambda raw: b"\x9b" + b"\x7f" * 8},
    "attestation that claims to be long": {"attestation": lambda raw: b"\x5b" + b"\x7f" * 8},
    "attestation that holds itself": {"attestation": lambda raw: bytes.fromhex("d81c81d81d00")},
    "attestation with a member twice": {"attestation": lambda raw: b"\xa4" + raw[1:] + b"\x63fmt\x64none"},
    "a key that is a list": {"cose": lambda key: list(key.values())},
    "a key that is a number": {"cose": lambda key: 4},
    "a key that is empty": {"cose": lambda key: {}},
    "a key that holds itself": {"auth_data": lambda data: data[: 37 + 18 + 32] + bytes.fromhex("d81c81d81d00")},
    "a key that is deep": {"auth_data": lambda data: data[: 37 + 18 + 32] + b"\xa1\x01" * 2000 + b"\x01"},
    "a key with a member twice": {
        "auth_data": lambda data: data[:87] + bytes([data[87] + 1]) + data[88:] + b"\x01\x02"
    },
    "a key without kind": {"cose": without(1)},
    "a key without algorithm": {"cose": without(3)},
    "a key without its first parameter": {"cose": without(-1)},
    "a key without its second parameter": {"cose": without(-2)},
    "an unknown kind of key": {"cose": lambda key: key | {1: 99}},
    "an algorithm we do not ask for": {"cose": lambda key: key | {3: -36}},
    "an algorithm of another key": {"cose": lambda key: key | {3: -7 if key[3] != -7 else -257}},
    "an algorithm as large as the world": {"cose": lambda key: key | {3: Decimal("1E+999999999")}},
    "an algorithm that is text": {"cose": lambda key: key | {3: "ES256"}},
    "an algorithm that is a list": {"cose": lambda key: key | {3: [-7]}},
    "a key of zeros": {"cose": lambda key: key | {-2: bytes(3), -3: bytes(3)}},
    "parameters that are text": {"cose": lambda key: key | {-1: "1", -2: "x", -3: "y"}},
    "parameters that are lists": {"cose": lambda key: key | {-1: [], -2: [], -3: []}},
}


@pytest.mark.parametrize("lies", REGISTRATION_LIES.values(), ids=REGISTRATION_LIES)
def test_a_registration_with_anything_wrong_is_refused(device, lies):
    with pytest.raises(CeremonyFailed):
        register(device, **lies)


@pytest.mark.parametrize("lies", REGISTRATION_LIES.values(), ids=REGISTRATION_LIES)
def test_an_upgrade_without_a_gesture_is_excused_from_nothing_else(device, lies):
    if lies.keys() & {"up", "uv"}:
        assert register(device, conditional=True, **lies)
    else:
        with pytest.raises(CeremonyFailed):
            register(device, conditional=True, **({"up": False, "uv": False} | lies))


def cose_of(key):
    numbers = key.public_key().public_numbers()
    if isinstance(key, rsa.RSAPrivateKey):
        return {1: 3, 3: -257, -1: numbers.n.to_bytes(key.key_size // 8 + 1, "big"), -2: b"\x01\x00\x01"}
    size = key.key_size // 8
    return {1: 2, 3: -7, -1: 2, -2: numbers.x.to_bytes(size, "big"), -3: numbers.y.to_bytes(size, "big")}


@pytest.mark.parametrize(
    ("algorithm", "change"),
    [
        ("ES256", lambda key: key | {-3: key[-3][:-1] + bytes([key[-3][-1] ^ 1])}),
        ("ES256", lambda key: key | {-2: bytes(32), -3: bytes(32)}),
        ("ES256", lambda key: key | {-3: True}),
        ("ES256", lambda key: key | {-1: 2}),
        ("ES256", lambda key: cose_of(ec.generate_private_key(ec.SECP384R1()))),
        ("ES256", lambda key: key | {1: 1, -1: 6}),
        ("EdDSA", lambda key: key | {-1: 4}),
        ("EdDSA", lambda key: key | {-2: key[-2][:-1]}),
        ("EdDSA", lambda key: key | {1: 2, -3: key[-2]}),
        ("RS256", lambda key: cose_of(rsa.generate_private_key(65537, 1024))),
        ("RS256", lambda key: key | {-1: b"\x7f" + key[-1][1:]}),
        ("RS256", lambda key: key | {-1: b"\x01" + b"\xff" * 1024}),
        ("RS256", lambda key: key | {-2: b"\x01"}),
        ("RS256", lambda key: key | {-2: b"\x02"}),
        ("RS256", lambda key: key | {3: -65535}),
        ("RS256", lambda key: key | {3: -37}),
    ],
    ids=[
        "point off its curve",
        "point at nowhere",
        "compressed point",
        "curve of another size",
        "P-384",
        "Edwards key in name",
        "X25519",
        "short Edwards key",
        "Weierstrass key in name",
        "RSA of 1024 bits",
        "RSA of 2047 bits",
        "RSA of 8193 bits",
        "exponent 1",
        "exponent 2",
        "SHA-1",
        "PSS",
    ],
)
def test_a_key_that_no_honest_authenticator_makes_is_refused(algorithm, change):
    with pytest.raises(CeremonyFailed):
        register(Authenticator(new_key=one_key[algorithm]), cose=change)


# Authentication


def test_an_assertion_says_who_and_what_to_store(device, passkey):
    assert sign_in(device, passkey) == Assertion(
        credential_id=passkey.credential_id, user_id=ALICE, sign_count=2, backed_up=False, attachment="platform"
    )


def test_an_assertion_is_found_by_its_posted_id(device, passkey):
    posted = device.get(authentication_options(RP, challenge=CHALLENGE))
    assert posted_credential_id(posted) == passkey.credential_id


def test_the_backup_state_may_change(device):
    device.synced = True
    passkey = stored(register(device, bs=False))
    assert not passkey.backed_up
    assert sign_in(device, passkey).backed_up
    assert not sign_in(device, passkey, bs=False).backed_up


@pytest.mark.parametrize(
    "harmless",
    [
        {"origin": "https://related.example"},
        {"cross_origin": None},
        {"client_data": lambda data: data[:-1] + b', "other_keys_can_be_added_here": "do not compare"}'},
        {"attachment": None},
        {"attachment": "cross-platform"},
        {"count": 2**32 - 1},
        {"auth_data": lambda data: data[:32] + bytes([data[32] | 0x80]) + data[33:] + cbor2.dumps({"a": 1})},
    ],
)
def test_what_may_differ_between_honest_assertions(device, passkey, harmless):
    assert sign_in(device, passkey, **harmless).user_id == ALICE


AUTHENTICATION_LIES = EITHER_CEREMONY | {
    "a registration": {"type": "webauthn.create"},
    "a passkey that can be backed up now": {"be": True},
    "an id of the same length": {"posted_id": bytes(32)},
    "a signature that is empty": {"signature": lambda raw: b""},
    "a signature that is cut": {"signature": lambda raw: raw[:-1]},
    "a signature and a byte": {"signature": lambda raw: raw + b"\x00"},
    "a signature with a bit flipped": {"signature": lambda raw: raw[:-1] + bytes([raw[-1] ^ 1])},
    "a signature of zeros": {"signature": lambda raw: bytes(len(raw))},
    "no signature": {"response": with_response(signature=None)},
    "no authenticator data": {"response": with_response(authenticatorData=None)},
    "authenticator data that are a list": {"response": with_response(authenticatorData=[])},
    "a credential made on the way": {"auth_data": lambda data: data[:32] + bytes([data[32] | 0x40]) + data[33:]},
    "another user handle": {"user_handle": OTHER_HANDLE},
    "the start of the user handle": {"user_handle": HANDLE[:-1]},
    "an empty user handle": {"user_handle": b""},
    "a user handle of half a byte": {"user_handle": "A"},
    "a user handle that is no base64": {"user_handle": "é"},
    "a user handle that is a number": {"user_handle": 5},
    "a user handle that is a list": {"user_handle": []},
    "a user handle that is deep": {"user_handle": json.loads("[" * 500 + "]" * 500)},
}


@pytest.mark.parametrize("asked_user", [None, ALICE], ids=["sign-in", "step-up"])
@pytest.mark.parametrize("lies", AUTHENTICATION_LIES.values(), ids=AUTHENTICATION_LIES)
def test_an_assertion_with_anything_wrong_is_refused(device, passkey, lies, asked_user):
    if "credential_id" in lies:
        lies = {"posted_id": lies["posted_id"]}
    with pytest.raises(CeremonyFailed):
        sign_in(device, passkey, asked_user=asked_user, **lies)


def test_a_sign_in_without_a_name_has_to_name_the_owner(device, passkey):
    with pytest.raises(CeremonyFailed):
        sign_in(device, passkey, user_handle=None)


def test_a_step_up_need_not_name_the_owner_once_more(device, passkey):
    assert sign_in(device, passkey, asked_user=ALICE, user_handle=None).user_id == ALICE


def test_nobody_elses_passkey_will_do_for_a_step_up(device, passkey):
    with pytest.raises(CeremonyFailed):
        sign_in(device, passkey, asked_user=MALLORY)
    with pytest.raises(CeremonyFailed):
        sign_in(device, passkey, asked_user=MALLORY, user_handle=None)


def test_mallorys_key_does_not_sign_for_alices_passkey(device, passkey):
    mallory = Authenticator()
    register(mallory)
    lies = {"credential": mallory.credentials[0], "posted_id": passkey.credential_id, "user_handle": HANDLE}
    with pytest.raises(CeremonyFailed):
        sign_in(device, passkey, **lies)


def test_a_good_assertion_of_another_passkey_of_the_same_key_is_refused(device, passkey):
    """The posted id decides which row is looked up, so a row that was not looked up by it is a bug of ours."""
    with pytest.raises(CeremonyFailed):
        sign_in(device, replace(passkey, credential_id=bytes(32)))


@pytest.mark.parametrize("member", ["clientDataJSON", "authenticatorData", "signature"])
def test_whatever_is_changed_after_signing_is_refused(device, passkey, member):
    posted = device.get(authentication_options(RP, challenge=CHALLENGE))
    assert check(posted, passkey)
    size = len(from_base64url(json.loads(posted)["response"][member]))
    for place in range(size):
        flipped = altered(posted, member, lambda raw, at=place: raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        with pytest.raises(CeremonyFailed):
            check(flipped, passkey)


@pytest.mark.parametrize("public_key", [b"", b"\x04", b"\xa0", b"key", bytes(77)])
def test_a_damaged_stored_key_lets_nobody_in(device, passkey, public_key):
    with pytest.raises(CeremonyFailed):
        sign_in(device, replace(passkey, public_key=public_key))


# Counters


@pytest.mark.parametrize(("stored_count", "count"), [(0, 0), (0, 1), (1, 2), (5, 2**32 - 1)])
def test_a_counter_that_goes_up_or_never_counts_is_fine(device, passkey, stored_count, count):
    assert sign_in(device, replace(passkey, sign_count=stored_count), count=count).sign_count == count


@pytest.mark.parametrize(("stored_count", "count"), [(1, 0), (1, 1), (7, 6), (2**32 - 1, 2**32 - 1)])
def test_a_counter_that_goes_back_makes_the_passkey_suspect(device, passkey, stored_count, count):
    with pytest.raises(PasskeySuspect):
        sign_in(device, replace(passkey, sign_count=stored_count), count=count)


def test_strangers_cannot_make_a_passkey_suspect(device, passkey):
    counted = replace(passkey, sign_count=7)
    for lies in AUTHENTICATION_LIES.values():
        if "credential_id" not in lies:
            with pytest.raises(CeremonyFailed):
                sign_in(device, counted, **({"count": 3} | lies))


def test_a_suspect_passkey_stays_refused_whatever_it_counts(device, passkey):
    with pytest.raises(PasskeySuspect):
        sign_in(device, replace(passkey, suspect=True), count=100)
    with pytest.raises(CeremonyFailed):
        sign_in(device, replace(passkey, suspect=True), count=100, origin="http://evil.example")


# Anything at all

HOSTILE_TEXTS = [
    "",
    " ",
    "null",
    "true",
    "NaN",
    "[]",
    "{}",
    '"text"',
    "{",
    "\x00",
    "é",
    "\ud800",
    "[" * 16_000,
    '{"response":' * 1300,
    "9" * 16_000,
    "-" + "1" * 5000 + "e999999",
    "x" * 10_000_000,
    '{"id":"' + "A" * 2000 + '"}',
]


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=lambda text: repr(text[:12]))
def test_a_text_that_is_no_response_is_refused(text):
    passkey = stored(register(Authenticator()))
    with pytest.raises(CeremonyFailed):
        verify_registration(RP, credential=text, challenge=CHALLENGE)
    with pytest.raises(CeremonyFailed):
        posted_credential_id(text)
    with pytest.raises(CeremonyFailed):
        check(text, passkey)


@pytest.mark.parametrize("size", [0, 15, 1024])
def test_an_id_of_an_impossible_length_is_not_looked_up(size):
    device = Authenticator()
    register(device)
    posted = device.get(authentication_options(RP, challenge=CHALLENGE), posted_id=bytes(size))
    with pytest.raises(CeremonyFailed):
        posted_credential_id(posted)


def bomb(levels):
    """A list of lists, each of which holds the one before twice, by CBOR's tags for shared values."""
    pairs = [bytes.fromhex("d81c 820102")]
    pairs += [bytes.fromhex("d81c 82") + 2 * (b"\xd8\x1d" + cbor2.dumps(level)) for level in range(levels)]
    return cbor2.dumps([0] * len(pairs))[:1] + b"".join(pairs)


BOMB = bomb(20)  # 189 bytes; each level more doubles the time that a copy of it takes


def with_extensions(cbor):
    return lambda data: data[:32] + bytes([data[32] & ~0x40 | 0x80]) + data[33:37] + cbor


def with_statement(cbor):
    return lambda raw: cbor2.dumps(without("attStmt")(cbor2.loads(raw)) | {"attStmt": 0})[:-1] + cbor


@pytest.mark.parametrize(
    "lies",
    [
        {"auth_data": lambda data: data[:87] + BOMB},
        {"auth_data": with_extensions(BOMB)},
        {"attestation": with_statement(b"\xa1\x63x5c" + BOMB)},
        {"attestation": with_statement(b"\xbf\xff")},
    ],
    ids=["as the key", "as an extension", "as a certificate", "without lengths"],
)
def test_a_registration_costs_little_however_its_cbor_is_knotted(device, lies):
    assert len(BOMB) < 200
    started = process_time()
    with pytest.raises(CeremonyFailed):
        register(device, **lies)
    assert process_time() - started < 0.5


def test_the_same_registration_with_plain_cbor_is_fine(device):
    assert register(device, attestation=with_statement(b"\xa0"))


def test_an_assertion_costs_little_however_its_cbor_is_knotted(device, passkey):
    started = process_time()
    for change in (with_extensions(BOMB), lambda data: data[:32] + b"\x45" + data[33:] + bytes(18) + BOMB):
        with pytest.raises(CeremonyFailed):
            sign_in(device, passkey, auth_data=change)
    assert process_time() - started < 0.5


def test_what_was_posted_is_not_logged(caplog):
    caplog.set_level("INFO")
    with pytest.raises(CeremonyFailed):
        register(Authenticator(), origin="http://somebodys-secret.example")
    assert caplog.messages == ["a passkey response was refused: InvalidRegistrationResponse"]
