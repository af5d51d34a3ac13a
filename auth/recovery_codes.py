"""Recovery codes: drawn, shown, read back and hashed. Pure, but for the work that argon2 is."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

from argon2.low_level import Type, hash_secret_raw

# Crockford's base32: without I, L, O and U, which are misread or misheard.
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTHS = (8, 16)  # 40 bits behind argon2id and a limit on guesses; 80 bits, where NIST 800-63B-4 3.1.2 asks for 64
CODES_IN_A_SET = 10
FEW_CODES = 3
SOON_DAYS = 14
SALT_BYTES = 16
DIGEST_BYTES = 32

RandomBytes = Callable[[int], bytes]
Need = Literal["more", "new", "new soon", "confirmation", "first"]


@dataclass(frozen=True)
class Parameters:
    """Of argon2id; the defaults are OWASP's smallest recommendation (Password Storage Cheat Sheet)."""

    memory_kib: int = 19_456
    passes: int = 2
    lanes: int = 1


@dataclass(frozen=True)
class Codes:
    """The set that counts, as its owner may know it. `made_at` is Unix time."""

    label: int
    left: int
    made_at: float
    confirmed: bool


@dataclass(frozen=True)
class Recipe:
    """What a code is hashed with. `set_id` is the set it was kept with."""

    set_id: str | None
    salt: bytes
    parameters: Parameters
    pepper_id: str


def good_until(codes: Codes | None, ttl_days: int | None) -> float | None:
    """Return when these codes stop working, as Unix time, or None: never, or there are none."""
    return codes.made_at + ttl_days * 86400 if codes and ttl_days else None


def usable(codes: Codes | None, ttl_days: int | None, *, now: float) -> int:
    """Return how many codes somebody could sign in with."""
    end = good_until(codes, ttl_days)
    return codes.left if codes and (end is None or now <= end) else 0


def needed(codes: Codes | None, ttl_days: int | None, *, has_factors: bool, now: float) -> Need | None:
    """Return what somebody with these codes has to be reminded of, the most urgent first."""
    end = good_until(codes, ttl_days)
    if codes is None:
        return "first" if has_factors else None
    if end is not None and end < now:
        return "new"
    if codes.left <= FEW_CODES:
        return "more"
    if end is not None and end < now + SOON_DAYS * 86400:
        return "new soon"
    return None if codes.confirmed else "confirmation"


def draw_set(length: int, random_bytes: RandomBytes) -> list[str]:
    """Draw the codes of a set, all different, as they are kept: no hyphens."""
    codes: dict[str, None] = {}
    while len(codes) < CODES_IN_A_SET:
        # 256 is a multiple of 32, so the lowest five bits of a random byte favour no character.
        codes["".join(ALPHABET[byte % 32] for byte in random_bytes(length))] = None
    return list(codes)


def shown(code: str) -> str:
    """`ABCD1234` as `ABCD-1234`."""
    return "-".join(code[i : i + 4] for i in range(0, len(code), 4))


def normalised(typed: str) -> str:
    """Return what was meant: any case, spaces and hyphens, O for 0, I and L for 1."""
    kept = "".join(character for character in typed.upper() if character.isalnum())
    return kept.translate(str.maketrans("OIL", "011"))


def is_code(text: str) -> bool:
    """Whether this can be a code, of any length that is or was in use; `text` is normalised."""
    return len(text) in LENGTHS and set(text) <= set(ALPHABET)


def digest(code: str, pepper: bytes, salt: bytes, parameters: Parameters) -> str:
    """Return argon2id (RFC 9106) over HMAC-SHA256(pepper, code), as 64 hexadecimal digits. Takes about 20 ms.

    The pepper is not in the database, so a stolen database alone is no use for guessing.
    """
    peppered = hmac.digest(pepper, code.encode(), hashlib.sha256)
    return hash_secret_raw(
        peppered,
        salt,
        time_cost=parameters.passes,
        memory_cost=parameters.memory_kib,
        parallelism=parameters.lanes,
        hash_len=DIGEST_BYTES,
        type=Type.ID,
    ).hex()


def as_json(parameters: Parameters) -> dict[str, int]:
    return asdict(parameters)
