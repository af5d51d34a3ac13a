"""A browser with a passkey authenticator, in software: real keys, real signatures, and every way to get them wrong.

    device = Authenticator(origin="http://localhost:5000")
    answer = device.create(options)                   # what JSON.stringify(credential.toJSON()) would be
    answer = device.get(options)                      # any credential of that site, or one that is allowed
    answer = device.get(options, uv=False, count=3)   # the same with two lies in it, signed all the same

A keyword replaces the true value of that name: `type`, `challenge`, `origin`, `cross_origin`, `top_origin` of the
client data; `rp_id`, `up`, `uv`, `be`, `bs`, `count` of the authenticator data; `aaguid`, `credential_id`, `fmt`,
`att_stmt` of the attestation; `posted_id`, `raw_id`, `attachment`, `transports`, `user_handle` of what is posted. None
leaves a member out (not the challenge, not an id). `client_data`, `cose`, `auth_data`, `attestation`, `signature` and
`response` are functions that get what has been built so far and return what to go on with, so what they change is
signed where it comes before the signature. `credential` answers with that one, whoever it belongs to.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from secrets import token_bytes
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

NEW_KEY: dict[str, Callable[[], PrivateKey]] = {
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
}


class NotAllowed(Exception):
    """The browser's NotAllowedError: nothing here fits the options, or the person said no."""


class AlreadyRegistered(Exception):
    """The browser's InvalidStateError: one of the excluded credentials is in here."""


@dataclass
class Credential:
    """A passkey as its authenticator keeps it."""

    id: bytes
    rp_id: str
    user_handle: bytes
    user_name: str
    private_key: PrivateKey
    count: int

    def sign(self, data: bytes) -> bytes:
        return self.private_key.sign(data, *_scheme(self.private_key))

    def verify(self, signature: bytes, data: bytes) -> None:
        """Raises cryptography.exceptions.InvalidSignature."""
        self.private_key.public_key().verify(signature, data, *_scheme(self.private_key))


@dataclass
class Authenticator:
    """One device. `synced` sets both backup flags; one that does not count says 0 for ever."""

    origin: str = "http://localhost:5000"
    new_key: Callable[[], PrivateKey] = NEW_KEY["ES256"]
    attachment: str = "platform"
    transports: tuple[str, ...] = ("internal",)
    aaguid: bytes = bytes(16)
    synced: bool = False
    counts: bool = True
    credentials: list[Credential] = field(default_factory=list)

    def create(self, options: dict[str, Any], **wrong: Any) -> str:
        say = wrong.pop  # say(name, truth) is the lie of that name, if there is one
        rp_id, user, selection = options["rp"]["id"], options["user"], options["authenticatorSelection"]
        key = self.new_key()
        if _cose(key)[3] not in [param["alg"] for param in options["pubKeyCredParams"]]:
            raise NotAllowed
        if selection.get("authenticatorAttachment", self.attachment) != self.attachment:
            raise NotAllowed
        if self._held(rp_id, options["excludeCredentials"]):
            raise AlreadyRegistered
        credential = Credential(
            id=say("credential_id", token_bytes(32)),
            rp_id=rp_id,
            user_handle=from_base64url(user["id"]),
            user_name=user["name"],
            private_key=key,
            count=int(self.counts),
        )
        # A second credential of the same account replaces the first, as in every real authenticator.
        account = (rp_id, credential.user_handle)
        self.credentials = [held for held in self.credentials if (held.rp_id, held.user_handle) != account]
        self.credentials.append(credential)

        client_data = self._client_data("webauthn.create", options, say)
        public_key = cbor2.dumps(say("cose", _same)(_cose(key)))
        attested = say("aaguid", self.aaguid) + len(credential.id).to_bytes(2, "big") + credential.id + public_key
        auth_data = self._auth_data(credential, say, attested)
        attestation = {"fmt": say("fmt", "none"), "attStmt": say("att_stmt", {}), "authData": auth_data}
        response = {
            "clientDataJSON": to_base64url(client_data),
            "attestationObject": to_base64url(say("attestation", _same)(cbor2.dumps(_stated(attestation)))),
            "transports": say("transports", list(self.transports)),
        }
        return self._posted(say("posted_id", credential.id), response, say, wrong)

    def get(self, options: dict[str, Any], **wrong: Any) -> str:
        say = wrong.pop
        held = self._held(options["rpId"], options["allowCredentials"] or None)
        credential = say("credential", held[-1] if held else None)
        if credential is None:
            raise NotAllowed
        credential.count += self.counts

        client_data = self._client_data("webauthn.get", options, say)
        auth_data = self._auth_data(credential, say)
        signature = credential.sign(auth_data + sha256(client_data).digest())
        user_handle = say("user_handle", credential.user_handle)
        response = {
            "clientDataJSON": to_base64url(client_data),
            "authenticatorData": to_base64url(auth_data),
            "signature": to_base64url(say("signature", _same)(signature)),
            "userHandle": to_base64url(user_handle) if isinstance(user_handle, bytes) else user_handle,
        }
        return self._posted(say("posted_id", credential.id), response, say, wrong)

    def _held(self, rp_id: str, descriptors: list[dict[str, Any]] | None) -> list[Credential]:
        ids = None if descriptors is None else [from_base64url(descriptor["id"]) for descriptor in descriptors]
        return [held for held in self.credentials if held.rp_id == rp_id and (ids is None or held.id in ids)]

    def _client_data(self, ceremony: str, options: dict[str, Any], say: Callable[..., Any]) -> bytes:
        client_data = {
            "type": say("type", ceremony),
            "challenge": to_base64url(say("challenge", from_base64url(options["challenge"]))),
            "origin": say("origin", self.origin),
            "crossOrigin": say("cross_origin", False),
            "topOrigin": say("top_origin", None),
        }
        return say("client_data", _same)(json.dumps(_stated(client_data)).encode())

    def _auth_data(self, credential: Credential, say: Callable[..., Any], attested: bytes = b"") -> bytes:
        """WebAuthn 6.1: SHA-256 of the RP id, flags, counter, and at registration the new credential."""
        flags = (
            say("up", True) << 0
            | say("uv", True) << 2
            | say("be", self.synced) << 3
            | say("bs", self.synced) << 4
            | bool(attested) << 6
        )
        rp_id_hash = sha256(say("rp_id", credential.rp_id).encode()).digest()
        count = say("count", credential.count).to_bytes(4, "big")
        return say("auth_data", _same)(rp_id_hash + bytes([flags]) + count + attested)

    def _posted(self, id: bytes, response: dict[str, Any], say: Callable[..., Any], wrong: dict[str, Any]) -> str:
        posted = {
            "id": to_base64url(id),
            "rawId": to_base64url(say("raw_id", id)),
            "type": "public-key",
            "authenticatorAttachment": say("attachment", self.attachment),
            "clientExtensionResults": {},
            "response": _stated(response),
        }
        text = json.dumps(say("response", _same)(_stated(posted)))
        if wrong:
            raise TypeError(f"no such lie here: {', '.join(wrong)}")
        return text


def altered(posted: str, member: str, change: Callable[[bytes], bytes]) -> str:
    """Change the bytes of one member of `response` after they were signed, as somebody on the way would."""
    credential = json.loads(posted)
    response = credential["response"]
    response[member] = to_base64url(change(from_base64url(response[member])))
    return json.dumps(credential)


def to_base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    return urlsafe_b64decode(text + "==")


def _same(value: Any) -> Any:
    return value


def _stated(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _cose(private_key: PrivateKey) -> dict[int, Any]:
    """The public key as a COSE_Key (RFC 9053 7): 1 is its type, 3 the algorithm, the negative ones its parameters."""
    match private_key.public_key():
        case ec.EllipticCurvePublicKey() as key:
            point = key.public_numbers()
            return {1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")}
        case ed25519.Ed25519PublicKey() as key:
            return {1: 1, 3: -8, -1: 6, -2: key.public_bytes_raw()}
        case rsa.RSAPublicKey() as key:
            numbers = key.public_numbers()
            return {1: 3, 3: -257, -1: numbers.n.to_bytes(key.key_size // 8, "big"), -2: numbers.e.to_bytes(3, "big")}


def _scheme(private_key: PrivateKey) -> tuple[Any, ...]:
    match private_key:
        case ec.EllipticCurvePrivateKey():
            return (ec.ECDSA(SHA256()),)
        case rsa.RSAPrivateKey():
            return (padding.PKCS1v15(), SHA256())
    return ()
