"""Passkeys, as they are lived with: added, used to sign in and to step up, renamed, removed."""

import logging
import random
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from webauthn.helpers import base64url_to_bytes, bytes_to_base64url

from auth import passkeys
from auth.gateway import Gateway, nothing, yes_or_no
from auth.passkeys import Kind, Passkey, RelyingParty
from auth.refusals import (
    CeremonyFailed,
    Denied,
    LinkExpired,
    PasskeyExists,
    PasskeySuspect,
    TooManyPasskeys,
    UnknownPasskey,
)
from auth.removal import was_last
from auth.tokens import Issuer, Tokens
from auth.vault import Account, Answered, Vault

MOST_PASSKEYS = 20
CHALLENGE_BYTES = 32
HANDLE_BYTES = 64
WAITS_FOR_A_LINK = (0, 0.1, 0.2, 0.4, 0.8)  # seconds at most before each try

Purpose = Literal["register", "sign_in", "step_up"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeptPasskey:
    """A passkey as its owner sees it. Times are Unix time; `used_with` is a browser and a system."""

    id: str
    passkey: Passkey
    attachment: str | None
    created_at: float
    last_used_at: float | None
    used_with: str | None

    @property
    def name(self) -> str:
        return self.passkey.name


@dataclass(frozen=True)
class Kept:
    """Everything an authenticator may know about a person. `handle` is empty before the first ceremony."""

    handle: bytes
    passkeys: tuple[KeptPasskey, ...]

    @property
    def credentials(self) -> list[Passkey]:
        return [kept.passkey for kept in self.passkeys]


@dataclass(frozen=True)
class _Taken:
    """A challenge that was taken, and the passkey that answers it, if we know that one."""

    conditional: bool
    passkey: KeptPasskey | None
    handle: bytes
    email: str
    may_sign_in: bool


@dataclass(frozen=True)
class PasskeyFlows:
    """The flows, and what they need to know and to reach."""

    gateway: Gateway
    vault: Vault
    issuer: Issuer
    rp: RelyingParty
    timeout_ms: int

    def of(self, user_id: str) -> Kept:
        return self.gateway.call("passkeys_of", _kept, p_user=user_id)

    def creation_options(
        self, account: Account, *, email: str, kind: Kind | None, conditional: bool = False
    ) -> dict[str, Any]:
        """Return what navigator.credentials.create() is asked for, on behalf of this session."""
        challenge = secrets.token_bytes(CHALLENGE_BYTES)
        kept = self._challenge(
            challenge, "register", made_for=account.id, user_id=account.user_id, conditional=conditional
        )
        return passkeys.registration_options(
            self.rp,
            user_handle=kept.handle,
            user_name=email,
            display_name=email,
            challenge=challenge,
            exclude=kept.credentials,
            kind=kind,
            conditional=conditional,
            timeout_ms=self.timeout_ms,
        )

    def request_options(self, *, made_for: str, user_id: str | None) -> dict[str, Any]:
        """Return what navigator.credentials.get() is asked for: any good passkey of this person, or of anybody.

        Raises PasskeySuspect: this person has no other. To name none would be to ask for anybody's.
        """
        challenge = secrets.token_bytes(CHALLENGE_BYTES)
        purpose: Purpose = "step_up" if user_id else "sign_in"
        kept = self._challenge(challenge, purpose, made_for=made_for, user_id=user_id)
        good = [passkey for passkey in kept.credentials if not passkey.suspect]
        if kept.credentials and not good:
            raise PasskeySuspect
        return passkeys.authentication_options(self.rp, challenge=challenge, allow=good, timeout_ms=self.timeout_ms)

    def register(self, account: Account, *, credential: str, used_with: str, now: float) -> tuple[str, str]:
        """Add a passkey, which this session has then proven too. Return the new key of the vault, and its name.

        `account` must have the lease.

        Raises:
            CeremonyFailed, PasskeyExists, TooManyPasskeys
            Denied: see Vault.elevate().
        """
        with self.vault.lease_of(account):
            challenge = passkeys.posted_challenge(credential)
            taken = self._take(challenge, "register", made_for=account.id, credential_id="")
            new = passkeys.verify_registration(
                self.rp, credential=credential, challenge=challenge, conditional=taken.conditional
            )
            existing = [passkey.name for passkey in self.of(account.user_id).credentials]
            name = passkeys.default_name(new.aaguid, new.transports, existing)
            self.gateway.call(
                "passkey_add",
                _added,
                p_user=account.user_id,
                p_credential_id=bytes_to_base64url(new.credential_id),
                p_public_key=bytes_to_base64url(new.public_key),
                p_sign_count=new.sign_count,
                p_transports=list(new.transports),
                p_aaguid=new.aaguid,
                p_name=name,
                p_attachment=new.attachment,
                p_backup_eligible=new.backup_eligible,
                p_backed_up=new.backed_up,
                p_used_with=used_with,
                # Made without a gesture, it proves nothing about who was there.
                p_session=None if taken.conditional else account.session_id,
                p_most=MOST_PASSKEYS,
            )
            tokens = self.gateway.refresh(account.tokens.refresh_token)
            if taken.conditional:
                return self.vault.renew(account, tokens), name
            return self.vault.elevate(account, tokens, self.issuer.claims(tokens, now=now)), name

    def step_up(self, account: Account, *, credential: str, used_with: str, now: float) -> str:
        """Prove one of this person's passkeys: the session becomes aal2. Return the new key of the vault.

        `account` must have the lease, and with it the challenge that `credential` answers: see answered().

        Raises:
            CeremonyFailed, PasskeySuspect
        """
        with self.vault.lease_of(account):
            taken = _taken(account.taken)
            if taken is None or taken.passkey is None:
                raise CeremonyFailed
            challenge = passkeys.posted_challenge(credential)
            sign_count, backed_up = self._verified(
                credential, challenge, taken, taken.passkey, asked_user=account.user_id
            )
            self._used(taken.passkey, sign_count, backed_up, used_with=used_with, session_id=account.session_id)
            tokens = self.gateway.refresh(account.tokens.refresh_token)
            return self.vault.elevate(account, tokens, self.issuer.claims(tokens, now=now))

    def sign_in(self, *, browser: str, credential: str, used_with: str, now: float) -> Tokens:
        """Sign in whoever the passkey belongs to, without a password. Return tokens at aal2.

        Supabase has no sign-in for passkeys of ours, so a session is minted with a link that is never mailed. It
        replaces a link that this person may be waiting for: Supabase keeps one at a time (design D8).

        Raises:
            UnknownPasskey: we do not know it; the browser can be told to forget it.
            CeremonyFailed, PasskeySuspect
        """
        challenge = passkeys.posted_challenge(credential)
        credential_id = passkeys.posted_credential_id(credential)
        taken = self._take(challenge, "sign_in", made_for=browser, credential_id=bytes_to_base64url(credential_id))
        if taken.passkey is None:
            raise UnknownPasskey(bytes_to_base64url(credential_id))
        sign_count, backed_up = self._verified(credential, challenge, taken, taken.passkey, asked_user=None)
        if not taken.may_sign_in:
            raise CeremonyFailed
        tokens = self._minted(taken.email, taken.passkey.passkey.user_id)
        session_id = self.issuer.claims(tokens, now=now).session_id
        try:
            self._used(taken.passkey, sign_count, backed_up, used_with=used_with, session_id=session_id)
            return self._at_aal2(self.gateway.refresh(tokens.refresh_token), now=now)
        except BaseException:
            self.gateway.end_session(tokens)
            raise

    def rename(self, user_id: str, passkey_id: str, name: str) -> None:
        if not self.gateway.call("passkey_rename", yes_or_no, p_user=user_id, p_passkey=passkey_id, p_name=name):
            raise UnknownPasskey("")

    def remove(self, user_id: str, passkey_id: str, *, even_last: bool) -> bool:
        """Remove a passkey for good, and lower the sessions that only it had proven.

        Return whether no second factor is left. Raises UnknownPasskey, FactorsChanged.
        """
        last = self.gateway.call(
            "passkey_remove", was_last, p_user=user_id, p_passkey=passkey_id, p_even_last=even_last
        )
        if last is None:
            raise UnknownPasskey("")
        return last

    def _challenge(
        self, challenge: bytes, purpose: Purpose, *, made_for: str, user_id: str | None, conditional: bool = False
    ) -> Kept:
        return self.gateway.call(
            "passkey_challenge",
            _kept,
            p_challenge=bytes_to_base64url(challenge),
            p_purpose=purpose,
            p_made_for=made_for,
            p_conditional=conditional,
            p_user=user_id,
            p_new_handle=bytes_to_base64url(secrets.token_bytes(HANDLE_BYTES)),
        )

    def _take(self, challenge: bytes, purpose: Purpose, *, made_for: str, credential_id: str) -> _Taken:
        taken = self.gateway.call(
            "passkey_take",
            _taken,
            p_challenge=bytes_to_base64url(challenge),
            p_purpose=purpose,
            p_made_for=made_for,
            p_credential_id=credential_id,
        )
        if taken is None:  # used, too old, or made for somebody or something else
            raise CeremonyFailed
        return taken

    def _verified(
        self, credential: str, challenge: bytes, taken: _Taken, kept: KeptPasskey, *, asked_user: str | None
    ) -> tuple[int, bool]:
        try:
            assertion = passkeys.verify_authentication(
                self.rp,
                credential=credential,
                challenge=challenge,
                passkey=kept.passkey,
                user_handle=taken.handle,
                asked_user=asked_user,
            )
        except PasskeySuspect:
            log.warning("passkey %s of user %s: its counter went backwards", kept.id, kept.passkey.user_id)
            self.gateway.call("passkey_suspect", nothing, p_passkey=kept.id)
            raise
        return assertion.sign_count, assertion.backed_up

    def _used(self, kept: KeptPasskey, sign_count: int, backed_up: bool, *, used_with: str, session_id: str) -> None:
        """Book the use and elevate the session, in one statement. CeremonyFailed if another answer was faster."""
        self.gateway.call(
            "passkey_used",
            yes_or_no,
            p_passkey=kept.id,
            p_sign_count=sign_count,
            p_backed_up=backed_up,
            p_used_with=used_with,
            p_session=session_id,
        )

    def _minted(self, email: str, user_id: str) -> Tokens:
        """Return a new session of this person at aal1. Of two links made at once the earlier is dead: try again.

        Not at once: two sign-ins in step would kill each other's link at every try, as one pair in 180 did.
        """
        for most_seconds in WAITS_FOR_A_LINK:
            time.sleep(random.uniform(0, most_seconds))
            token_hash = self.gateway.sign_in_link(email, user_id)
            try:
                tokens = self.gateway.confirm(token_hash, "magiclink")
            except LinkExpired:
                continue
            assert tokens is not None
            return tokens
        raise CeremonyFailed

    def _at_aal2(self, tokens: Tokens, *, now: float) -> Tokens:
        claims = self.issuer.claims(tokens, now=now)
        if claims.aal != "aal2" or not claims.stamped:
            raise Denied  # the hook or the mirror factor is missing
        return tokens


def answered(credential: str) -> Answered:
    """Return what a response says it answers, and by which passkey. Raises CeremonyFailed: it says nothing."""
    return Answered(
        bytes_to_base64url(passkeys.posted_challenge(credential)),
        bytes_to_base64url(passkeys.posted_credential_id(credential)),
    )


def _kept(answer: Any) -> Kept:
    return Kept(base64url_to_bytes(answer["handle"] or ""), tuple(_passkey(row) for row in answer["passkeys"]))


def _passkey(row: Mapping[str, Any]) -> KeptPasskey:
    return KeptPasskey(
        id=row["id"],
        passkey=Passkey(
            credential_id=base64url_to_bytes(row["credential_id"]),
            user_id=row["user_id"],
            public_key=base64url_to_bytes(row["public_key"]),
            sign_count=row["sign_count"],
            transports=tuple(row["transports"]),
            aaguid=row["aaguid"],
            name=row["name"],
            backup_eligible=row["backup_eligible"],
            backed_up=row["backed_up"],
            suspect=row["suspect"],
        ),
        attachment=row["attachment"],
        created_at=row["created_at"],
        last_used_at=row["last_used_at"],
        used_with=row["last_used_with"],
    )


def _taken(answer: Any) -> _Taken | None:
    if answer is None:
        return None
    return _Taken(
        conditional=answer["conditional"],
        passkey=_passkey(answer["passkey"]) if answer["passkey"] else None,
        handle=base64url_to_bytes(answer["handle"] or ""),
        email=answer["email"] or "",
        may_sign_in=answer["may_sign_in"] is True,
    )


def _added(answer: Any) -> str:
    match answer.get("refused"):
        case None:
            return str(answer["id"])
        case "too_many":
            raise TooManyPasskeys
        case _:
            raise PasskeyExists
