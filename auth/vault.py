"""The encrypted session vault behind the opaque cookie: who holds which Supabase session, and who may rotate it."""

import hashlib
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from weakref import WeakValueDictionary

from cryptography.fernet import InvalidToken, MultiFernet

from auth.assurance import Factor
from auth.gateway import Gateway, nothing, yes_or_no
from auth.recovery_codes import Codes
from auth.refusals import Denied, SignInRequired, Unavailable
from auth.tokens import Claims, Tokens

REFRESH_MARGIN_SECONDS = 60  # refresh before supabase-py would do it by itself, which it does at 10 s
PATIENCE_SECONDS = 10  # how long a request waits for another one's refresh: longer than a lease
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Enrolment:
    """An authenticator app being set up in this session. `secret` is base32."""

    factor_id: str
    name: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Answered:
    """The challenge that a passkey's response answers, and the id of that passkey; both base64url, nothing proven."""

    challenge: str
    credential_id: str


@dataclass(frozen=True)
class Account:
    """What the vault knows about the holder of a key.

    `lease` names the holder's right to rotate the tokens, where it was asked for. `stale`: the key was replaced a
    moment ago, so these are the tokens of before, good for reading only. `taken` is what public.passkey_take says,
    where a challenge was answered.
    """

    id: str
    user_id: str
    session_id: str
    signed_in_with: str
    tokens: Tokens
    new_email: str | None  # asked for, not confirmed yet
    factors: tuple[Factor, ...]
    codes: Codes | None
    enrolment: Enrolment | None
    not_now_at: float | None  # when they last sent the prompt for a second factor away
    stale: bool
    lease: str | None
    taken: Any = None


class Vault:
    """Keys are 256 random bits, base64url, known to the browser alone; the database has their SHA-256.

    An entry as the database returns it (public.vault_read), the tokens encrypted:
        {"account": "7c1e…", "user": "0a9b…", "session": "51fd…", "signed_in_with": "password",
         "access_token": "gAAAA…", "refresh_token": "gAAAA…", "expires_at": 1790000000.0, "new_email": null,
         "factors": [{"id": "…", "type": "totp", "name": "phone", "created_at": 1789990000.5}],
         "codes": {"label": 1, "made_at": 1789990000.5, "confirmed": true, "left": 10},
         "enrolment": null, "not_now_at": null, "stale": false, "leased": false}
    """

    def __init__(self, gateway: Gateway, cipher: MultiFernet, clock: Callable[[], float]) -> None:
        self._gateway = gateway
        self._cipher = cipher
        self._clock = clock
        self._pollers: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        self._pollers_lock = threading.Lock()

    def open(self, tokens: Tokens, claims: Claims, *, signed_in_with: str, replaces: str | None) -> str:
        """Keep a new sign-in and return its key. What the browser held before under `replaces` ends."""
        key = secrets.token_urlsafe(32)
        self._gateway.call(
            "vault_open",
            uuid.UUID,
            p_key_hash=_hash(key),
            p_replaces=_hash(replaces) if replaces else None,
            p_user=claims.user_id,
            p_session=claims.session_id,
            p_signed_in_with=signed_in_with,
            **self._sealed(tokens),
        )
        return key

    def close(self, key: str) -> None:
        """Sign out: the vault and its Supabase session end. Other devices stay signed in."""
        self._gateway.call("vault_close", nothing, p_key_hash=_hash(key))

    def read(self, key: str, *, lease: bool = False, answered: Answered | None = None) -> Account | None:
        """Return who holds `key`, with tokens that are good for another minute, or None: nobody, any more.

        One request to Supabase, unless the access token has run out. Then one of all the requests and processes
        that notice it refreshes, and the others use the old token while it is valid, or wait.
        With `lease` the account comes with the right to rotate its tokens; store() gives it back, and lease_of() does
        when that does not come to pass. With `answered` too, its challenge is taken in the same request.

        Raises:
            Unavailable: Supabase is not there, or the tokens were being rotated for too long.
        """
        holder = str(uuid.uuid4())
        account = self._read_and_refresh(key, holder, lease, answered)
        if self._will_do(account, lease):
            return account
        assert account is not None
        with self._only_poller(account.id):
            give_up_at = time.monotonic() + PATIENCE_SECONDS
            while time.monotonic() < give_up_at:
                account = self._read_and_refresh(key, holder, lease, answered)
                if self._will_do(account, lease):
                    return account
                time.sleep(POLL_SECONDS)
        raise Unavailable

    def store(self, account: Account, tokens: Tokens) -> None:
        """Store rotated tokens and give the lease back.

        Raises:
            Unavailable: the lease went to somebody else meanwhile, who has newer tokens.
        """
        self._store(account, tokens, new_key_hash=None)

    def renew(self, account: Account, tokens: Tokens) -> str:
        """As store(), and return the key that replaces the one of before."""
        key = secrets.token_urlsafe(32)
        self._store(account, tokens, new_key_hash=_hash(key))
        return key

    def elevate(self, account: Account, tokens: Tokens, claims: Claims) -> str:
        """As renew(), for tokens that a proof has earned; `claims` are theirs.

        Raises:
            Denied: they do not say aal2, as the hook or an endorsement is missing. They are stored all the same: those
                of before are used up.
        """
        if claims.aal != "aal2" or not claims.stamped or claims.session_id != account.session_id:
            self.store(account, tokens)
            raise Denied
        return self.renew(account, tokens)

    def expire(self, user_id: str) -> None:
        """Have every browser of this person fetch new tokens at its next request."""
        self._gateway.call("vault_expire", nothing, p_user=user_id)

    @contextmanager
    def lease_of(self, account: Account) -> Iterator[None]:
        """Give the lease back if the block fails, so that nobody has to wait for it to run out."""
        try:
            yield
        except BaseException:
            with suppress(Unavailable):
                self._gateway.call("vault_release", nothing, p_account=account.id, p_lease_holder=account.lease)
            raise

    def begin_enrolment(self, account: Account, *, factor_id: str, secret: str) -> None:
        """Endorse the factor that this session has begun to set up, and keep its secret until it is done."""
        endorsed = self._gateway.call(
            "mfa_endorse_enrolment", yes_or_no, p_account=account.id, p_factor=factor_id, p_secret=self._seal(secret)
        )
        if not endorsed:
            raise Unavailable

    def _store(self, account: Account, tokens: Tokens, *, new_key_hash: str | None) -> None:
        stored = self._gateway.call(
            "vault_store",
            yes_or_no,
            p_account=account.id,
            p_lease_holder=account.lease,
            p_new_key_hash=new_key_hash,
            **self._sealed(tokens),
        )
        if not stored:
            raise Unavailable

    def _read_and_refresh(self, key: str, holder: str, lease: bool, answered: Answered | None) -> Account | None:
        account = self._read(key, holder, lease, answered)
        if account is None or account.lease is None or not self._expiring(account):
            return account
        with self.lease_of(account):
            try:
                tokens = self._gateway.refresh(account.tokens.refresh_token)
            except SignInRequired:  # Supabase says so: revoked, banned or too old
                self.close(key)
                return None
            self.store(account, tokens)
        return replace(account, tokens=tokens, lease=None)

    def _will_do(self, account: Account | None, lease: bool) -> bool:
        if account is None or account.stale:
            return True
        if lease:
            return account.lease is not None
        return self._clock() < account.tokens.expires_at

    def _expiring(self, account: Account) -> bool:
        return account.tokens.expires_at - self._clock() < REFRESH_MARGIN_SECONDS

    @contextmanager
    def _only_poller(self, account_id: str) -> Iterator[None]:
        """Let one thread of this process ask about an account, the others wait for it without asking."""
        with self._pollers_lock:
            lock = self._pollers.setdefault(account_id, threading.Lock())
        with lock:
            yield

    def _read(self, key: str, holder: str, lease: bool, answered: Answered | None = None) -> Account | None:
        taking = {"p_challenge": answered.challenge, "p_credential_id": answered.credential_id} if answered else {}
        try:
            return self._gateway.call(
                "vault_read_and_take" if answered else "vault_read",
                lambda entry: None if entry is None else self._account(entry, holder),
                p_key_hash=_hash(key),
                p_lease_holder=holder,
                p_margin_seconds=None if lease and not answered else REFRESH_MARGIN_SECONDS,
                **taking,
            )
        except InvalidToken:  # the key it was sealed with is no longer in VAULT_KEYS
            return None

    def _account(self, entry: dict[str, Any], holder: str) -> Account:
        enrolment = entry["enrolment"]
        return Account(
            id=entry["account"],
            user_id=entry["user"],
            session_id=entry["session"],
            signed_in_with=entry["signed_in_with"],
            tokens=Tokens(
                self._open(entry["access_token"]),
                self._open(entry["refresh_token"]) if entry["refresh_token"] else "",
                entry["expires_at"],
            ),
            new_email=entry["new_email"],
            factors=tuple(Factor(**factor) for factor in entry["factors"]),
            codes=Codes(**entry["codes"]) if entry["codes"] else None,
            enrolment=enrolment and Enrolment(enrolment["factor"], enrolment["name"], self._open(enrolment["secret"])),
            not_now_at=entry["not_now_at"],
            stale=entry["stale"],
            lease=holder if entry["leased"] else None,
            taken=entry.get("taken"),
        )

    def _sealed(self, tokens: Tokens) -> dict[str, str]:
        return {
            "p_access_token": self._seal(tokens.access_token),
            "p_refresh_token": self._seal(tokens.refresh_token),
            "p_expires_at": datetime.fromtimestamp(tokens.expires_at, UTC).isoformat(),
        }

    def _seal(self, text: str) -> str:
        return self._cipher.encrypt(text.encode()).decode()

    def _open(self, sealed: str) -> str:
        return self._cipher.decrypt(sealed.encode()).decode()


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
