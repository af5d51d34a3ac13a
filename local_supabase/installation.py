"""The secrets of one installation: made once, kept in its state folder, readable by its owner alone."""

import json
import os
import secrets
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from local_supabase.platform import Keys

DEMO_EMAIL = "demo@example.com"


@dataclass(frozen=True)
class Installation:
    """`keys` are Supabase's; the others are handed to the app and to the demo account."""

    keys: Keys
    app_secret_key: str  # SECRET_KEY
    vault_keys: str  # VAULT_KEYS: one Fernet key, urlsafe base64 of 32 bytes
    recovery_code_pepper: str  # RECOVERY_CODE_PEPPER: a name, a colon, a secret
    demo_password: str


def load_or_create(state: Path) -> Installation:
    """Read `state`/keys.json, or make it: a new key at each start would sign everybody out."""
    kept = state / "keys.json"
    found = json.loads(kept.read_text()) if kept.exists() else {}
    wanted = _new_secrets()
    if not wanted.keys() <= found.keys():  # new, or from before there was one of them
        found = wanted | found
        unfinished = kept.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        with open(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode=0o600), "w") as writer:
            json.dump(found, writer, indent=2)
        unfinished.rename(kept)
    keys = Keys(found["publishable_key"], found["secret_key"], found["signing_key"], found["legacy_secret"])
    return Installation(
        keys, found["app_secret_key"], found["vault_keys"], found["recovery_code_pepper"], found["demo_password"]
    )


def _new_secrets() -> dict[str, Any]:
    # The shape of hosted keys: 22 characters, an underline, a checksum of 8, which nobody verifies.
    return {
        "publishable_key": f"sb_publishable_{secrets.token_urlsafe(16)}_{secrets.token_urlsafe(6)}",
        "secret_key": f"sb_secret_{secrets.token_urlsafe(16)}_{secrets.token_urlsafe(6)}",
        "signing_key": _new_signing_key(),
        "legacy_secret": secrets.token_urlsafe(32),
        "app_secret_key": secrets.token_urlsafe(32),
        "vault_keys": Fernet.generate_key().decode(),
        "recovery_code_pepper": f"1:{secrets.token_urlsafe(32)}",
        "demo_password": "-".join(secrets.token_hex(2) for _ in range(3)),
    }


def _new_signing_key() -> dict[str, Any]:
    """A private JWK for ES256 (RFC 7517, RFC 7518 §6.2), which is what new Supabase projects sign with."""
    jwk = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)
    return {**jwk, "kid": str(uuid.uuid4()), "alg": "ES256", "use": "sig", "key_ops": ["sign"]}
