"""The only file that talks to Supabase: tokens go in, values come out, and every error becomes a Refused."""

import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, Literal, TypeVar

import httpx
import pydantic
from postgrest import ReturnMethod
from postgrest.exceptions import APIError
from supabase import Client, ClientOptions, create_client
from supabase_auth import SyncSupportedStorage
from supabase_auth.errors import (
    AuthApiError,
    AuthError,
    AuthSessionMissingError,
    AuthWeakPasswordError,
)
from supabase_auth.types import Session

from auth.migrations import Facts
from auth.refusals import (
    AccountGone,
    CeremonyFailed,
    Detour,
    EmailTaken,
    Failed,
    LinkExpired,
    MailJustSent,
    NameTaken,
    NoSuchAccount,
    NotConfirmed,
    ProofTooOld,
    Refused,
    Rejected,
    SamePassword,
    SignInRequired,
    SignUpClosed,
    TooManyFactors,
    TooManyRequests,
    Unavailable,
    WeakPassword,
    WrongCode,
    WrongCredentials,
)
from auth.tokens import Tokens

T = TypeVar("T")

# Where the request came from that is being answered, set by app.py. Supabase Auth counts its limits and binds
# challenges by it; without it, a whole site would share one small bucket. It decides nothing here.
visitor_address: ContextVar[str | None] = ContextVar("visitor_address", default=None)

REFUSALS: dict[str, type[Refused | Detour]] = {
    "invalid_credentials": WrongCredentials,
    "user_banned": WrongCredentials,  # Supabase says so before it has checked the password
    "email_not_confirmed": NotConfirmed,
    "signup_disabled": SignUpClosed,
    "otp_expired": LinkExpired,
    "otp_disabled": NoSuchAccount,
    "same_password": SamePassword,
    "email_exists": EmailTaken,
    "reauthentication_needed": SignInRequired,  # the session is older than a day: a new sign-in is proof enough
    "over_request_rate_limit": TooManyRequests,
    "over_email_send_rate_limit": MailJustSent,
    "mfa_verification_failed": WrongCode,
    "mfa_factor_name_conflict": NameTaken,
    "too_many_enrolled_mfa_factors": TooManyFactors,
    # The session is over: signed out elsewhere, expired, or the account is gone.
    "session_not_found": SignInRequired,
    "session_expired": SignInRequired,
    "refresh_token_not_found": SignInRequired,
    "refresh_token_already_used": SignInRequired,
    "user_not_found": AccountGone,
    "bad_jwt": SignInRequired,
}


MailKind = Literal["email", "magiclink", "recovery", "invite", "email_change"]


@dataclass(frozen=True)
class Enrolled:
    """A new, unverified authenticator app. `secret` is base32 (RFC 4648 section 6)."""

    factor_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Note:
    id: str
    body: str
    created_at: str  # ISO 8601, UTC


@dataclass(frozen=True)
class Billing:
    """A row of public.billing; `plan` is one of those that its check lists."""

    plan: str
    name: str
    street: str
    postal_code: str
    city: str
    country: str


def connection_pool(timeout_seconds: float) -> httpx.Client:
    """Return the pool that all clients share: one TLS context and one set of connections per process."""
    return httpx.Client(
        verify=_tls(),
        timeout=httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, 2)),
        # As many are kept as there may be: httpcore closes a surplus one even if a thread is about to use it.
        limits=httpx.Limits(max_connections=50, max_keepalive_connections=50),
        event_hooks={"request": [_without_key_as_bearer]},
        trust_env=False,  # a proxy named in the environment must not see tokens
    )


@cache
def _tls() -> ssl.SSLContext:
    """Return what httpx would make for each pool: reading the certificates takes longer than a request."""
    return httpx.create_ssl_context(trust_env=False)


class Gateway:
    """Supabase, for one project. Safe to share between threads: a client lives for one call.

    supabase-py keeps the signed-in session in the client and sends it with every later call, so a shared client
    would answer one visitor with another's rows. Making one costs 0.05 ms when the pool is shared.
    """

    def __init__(self, *, url: str, publishable_key: str, secret_key: str, http: httpx.Client) -> None:
        self._url = url
        self._publishable_key = publishable_key
        self._secret_key = secret_key
        self._http = http

    def close(self) -> None:
        """Close the connections. A process that ends does it by itself; tests make several apps."""
        self._http.close()

    def away(self) -> list[str]:
        """Return which of "auth" and "database" do not answer as they should."""
        return [name for name, ask in (("auth", self._ask_auth), ("database", self._ask_database)) if not _answers(ask)]

    def _ask_auth(self) -> None:
        headers = {"apikey": self._publishable_key}
        answer = self._http.get(f"{self._url}/auth/v1/health", headers=headers).raise_for_status().json()
        if "version" not in answer:
            raise ValueError

    def _ask_database(self) -> None:
        self.call("vault_close", nothing, p_key_hash="")

    # Signing up, in and on. These need no session.

    def sign_up(self, email: str, password: str) -> Tokens | None:
        """Ask for an account. None: a mail has been sent, or an account was there already (Supabase tells nobody)."""
        with _refusing():
            answer = self._visitor().auth.sign_up({"email": email, "password": password})
            return _tokens(answer.session) if answer.session else None

    def sign_in_with_password(self, email: str, password: str) -> Tokens:
        with _refusing():
            answer = self._visitor().auth.sign_in_with_password({"email": email, "password": password})
            return _tokens(answer.session)

    def confirm(self, token_hash: str, kind: MailKind) -> Tokens | None:
        """Trade the token of a mail for a session; it works once. None: an email change wants the other mail too."""
        with _refusing():
            answer = self._visitor().auth.verify_otp({"token_hash": token_hash, "type": kind})
            return _tokens(answer.session) if answer.session or kind != "email_change" else None

    def mail_confirmation_again(self, email: str) -> None:
        with _refusing():
            self._visitor().auth.resend({"type": "signup", "email": email})

    def mail_sign_in_link(self, email: str) -> None:
        with _refusing():
            self._visitor().auth.sign_in_with_otp({"email": email, "options": {"should_create_user": False}})

    def mail_reset_link(self, email: str) -> None:
        with _refusing():
            self._visitor().auth.reset_password_for_email(email)

    def refresh(self, refresh_token: str) -> Tokens:
        with _refusing():
            return _tokens(self._visitor().auth.refresh_session(refresh_token).session)

    def public_keys(self) -> dict[str, Any]:
        """Return the project's JWKS. supabase-py would fetch it once per client, so once per request."""
        with _refusing():
            answer = self._http.get(f"{self._url}/auth/v1/.well-known/jwks.json")
            answer.raise_for_status()
            keys: dict[str, Any] = answer.json()
            return keys

    def sign_in_link(self, email: str, user_id: str) -> str:
        """Make a sign-in link that nobody is mailed, and return its token hash for confirm().

        Supabase makes an account for an address it does not know, so whose link it is has to be looked at. And
        using the link would confirm an address that never was.

        Raises:
            CeremonyFailed: it would sign in somebody else, or somebody who may not.
        """
        with _refusing():
            answer = self._client(self._secret_key).auth.admin.generate_link({"type": "magiclink", "email": email})
            if (
                answer.user.id != user_id
                or answer.user.email_confirmed_at is None
                or answer.properties.verification_type != "magiclink"
            ):
                raise CeremonyFailed
            return answer.properties.hashed_token

    def delete_account(self, user_id: str) -> bool:
        """Delete a person for good, with all that is theirs. False: they were gone, as two tabs may ask for it."""
        with suppress(AccountGone), _refusing():
            self._client(self._secret_key).auth.admin.delete_user(user_id)
            return True
        return False

    def has_account(self, user_id: str) -> bool:
        with suppress(AccountGone), _refusing():
            self._client(self._secret_key).auth.admin.get_user_by_id(user_id)
            return True
        return False

    # For `flask doctor`.

    def create_account(self, email: str, password: str, *, made_by: str) -> str:
        """Make an account that needs no confirmation, without a mail, and return its id.

        `made_by` is kept in app_metadata, which nobody can write without the secret key.
        """
        with _refusing():
            return (
                self._client(self._secret_key)
                .auth.admin.create_user(
                    {
                        "email": email,
                        "password": password,
                        "email_confirm": True,
                        "app_metadata": {"made_by": made_by},
                    }
                )
                .user.id
            )

    def list_accounts_as_visitor(self) -> None:
        """Ask with the publishable key for what only the secret key may see. Anything but a refusal is a hole."""
        with _refusing():
            self._client(self._publishable_key).auth.admin.list_users(page=1, per_page=1)

    def auth_settings(self) -> dict[str, Any]:
        """Return what Supabase Auth says of itself to everybody; supabase-py has no call for it."""
        return self._ask_directly("GET", "settings", {})

    def enrol_unused_kind(self, tokens: Tokens, kind: Literal["phone", "webauthn"]) -> None:
        """Try to enrol a factor of a kind that the app does not use; supabase-py cannot for webauthn."""
        headers = {"Authorization": f"Bearer {tokens.access_token}"}
        self._ask_directly("POST", "factors", headers, {"factor_type": kind, "friendly_name": kind})

    def facts(self, names: list[str], session_id: str | None) -> Facts | None:
        """Return what public.doctor_facts says. None: there is no such function, so the migrations were not applied."""
        try:
            return self.call("doctor_facts", lambda found: Facts(**found), p_names=names, p_session=session_id)
        except Unavailable as error:
            if getattr(error.__cause__, "code", None) == "PGRST202":
                return None
            raise

    def _ask_directly(
        self, method: str, path: str, headers: dict[str, str], body: dict[str, str] | None = None
    ) -> dict[str, Any]:
        with _refusing():
            version = {"X-Supabase-Api-Version": "2024-01-01"}
            address, headers = f"{self._url}/auth/v1/{path}", version | {"apikey": self._publishable_key} | headers
            answer = self._http.request(method, address, headers=headers, json=body)
            if answer.is_client_error:
                raise _refusal(answer.json().get("code"))
            return dict(answer.raise_for_status().json())

    # The account. These need the person's session.

    def change_password(self, tokens: Tokens, password: str) -> None:
        """Set a new password. Supabase ends every other session, and wants aal2 from whoever has a factor."""
        with _refusing():
            self._person(tokens).auth.update_user({"password": password})

    def change_email(self, tokens: Tokens, email: str) -> None:
        """Ask both addresses to confirm a change; until both have, nothing changes."""
        with _refusing():
            self._person(tokens).auth.update_user({"email": email})

    def mail_email_change_again(self, email: str) -> None:
        """Send both mails of a change once more; `email` is the address of now. Without a change, nothing is sent."""
        with _refusing():
            self._visitor().auth.resend({"type": "email_change", "email": email})

    def end_session(self, tokens: Tokens) -> None:
        """End a session that no vault has. Those in vaults end by Vault.close()."""
        with _refusing():
            self._visitor().auth.admin.sign_out(tokens.access_token, "local")

    def enrol_totp(self, tokens: Tokens, name: str) -> Enrolled:
        with _refusing():
            answer = self._person(tokens).auth.mfa.enroll({"factor_type": "totp", "friendly_name": name})
            if answer.totp is None:
                raise Unavailable
            return Enrolled(factor_id=answer.id, secret=answer.totp.secret)

    def challenge_factor(self, tokens: Tokens, factor_id: str) -> str:
        """Return the id of a new challenge. The database refuses one without a grant: see auth/attempts.py."""
        with _refusing():
            return self._person(tokens).auth.mfa.challenge({"factor_id": factor_id}).id

    def verify_factor(self, tokens: Tokens, *, factor_id: str, challenge_id: str, code: str) -> Tokens:
        """Answer a challenge. The session goes on under the tokens returned, at aal2; the old ones are void."""
        with _refusing():
            session = _OneSession(tokens)
            self._person(tokens, session).auth.mfa.verify(
                {"factor_id": factor_id, "challenge_id": challenge_id, "code": code}
            )
            return session.tokens

    # The database.

    def call(self, function: str, into: Callable[[Any], T], /, **arguments: Any) -> T:
        """Call a function of supabase/migrations that only the service role may call.

        `into` makes a value of its JSON answer; what it cannot make one of was no answer, and Unavailable.
        """
        with _refusing():
            return into(self._client(self._secret_key).rpc(function, arguments).execute().data)

    def notes(self, tokens: Tokens) -> list[Note]:
        with _refusing():
            rows: Any = self._rows_of(tokens).select("id,body,created_at").order("created_at", desc=True).execute().data
            return [Note(row["id"], row["body"], row["created_at"]) for row in rows]

    def add_note(self, tokens: Tokens, body: str) -> None:
        with _refusing():
            self._rows_of(tokens).insert({"body": body}).execute()

    def delete_note(self, tokens: Tokens, note_id: str) -> None:
        with _refusing():
            self._rows_of(tokens).delete().eq("id", note_id).execute()

    def billing(self, tokens: Tokens) -> Billing | None:
        """Return what the person has saved, if anything. Raises ProofTooOld where a table would just show no row."""
        with _refusing(denied=ProofTooOld):
            row: Any = self._database_for(tokens).rpc("billing_mine").execute().data
            return Billing(**row) if row else None

    def save_billing(self, tokens: Tokens, billing: Billing) -> None:
        with _refusing(denied=ProofTooOld):
            table = self._database_for(tokens).table("billing")
            table.upsert(asdict(billing), on_conflict="user_id", returning=ReturnMethod.minimal).execute()

    def _rows_of(self, tokens: Tokens) -> Any:
        return self._database_for(tokens).table("notes")

    def _database_for(self, tokens: Tokens) -> Client:
        """The database as the person's own token sees it: row-level security decides, not this app."""
        return self._client(self._publishable_key, headers={"Authorization": f"Bearer {tokens.access_token}"})

    def _visitor(self) -> Client:
        return self._auth_client()

    def _person(self, tokens: Tokens, session: "_OneSession | None" = None) -> Client:
        """A client signed in with these tokens, at no request. They must have 10 s left, or it refreshes."""
        return self._auth_client(session or _OneSession(tokens))

    def _auth_client(self, session: "_OneSession | None" = None) -> Client:
        """A client for Supabase Auth alone. The visitor's address is believed only beside the secret key."""
        address = visitor_address.get()
        if address is None:
            return self._client(self._publishable_key, session=session)
        return self._client(self._secret_key, session=session, headers={"Sb-Forwarded-For": address})

    def _client(
        self, key: str, *, headers: dict[str, str] | None = None, session: "_OneSession | None" = None
    ) -> Client:
        options = ClientOptions(
            httpx_client=self._http,
            headers=headers or {},
            auto_refresh_token=False,  # a timer would rotate the refresh token behind the vault's back
            persist_session=session is not None,
            flow_type="implicit",  # mails link to /auth/confirm with a token hash; PKCE needs a verifier per mail
            postgrest_client_retry=False,  # it sleeps for up to 7 s in the request
        )
        if session is not None:
            options.storage = session
        return create_client(self._url, key, options)


class _OneSession(SyncSupportedStorage):
    """The storage of one client for one call: gives it the session, and catches the new one."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens

    def get_item(self, key: str) -> str:
        return json.dumps(
            {
                "access_token": self.tokens.access_token,
                "refresh_token": self.tokens.refresh_token,
                "token_type": "bearer",
                "expires_at": int(self.tokens.expires_at),
                # The client insists on these, and uses none of them.
                "expires_in": 0,
                "user": {
                    "id": "",
                    "aud": "authenticated",
                    "app_metadata": {},
                    "user_metadata": {},
                    "created_at": 0,
                },
            }
        )

    def set_item(self, key: str, value: str) -> None:
        session = json.loads(value)
        self.tokens = Tokens(session["access_token"], session["refresh_token"], session["expires_at"])

    def remove_item(self, key: str) -> None:
        pass


def nothing(answer: Any) -> None:
    """Check the answer of a function that returns void."""
    if answer != []:
        raise TypeError


def yes_or_no(answer: Any) -> bool:
    if not isinstance(answer, bool):
        raise TypeError
    return answer


def _answers(ask: Callable[[], None]) -> bool:
    try:
        with _refusing():
            ask()
    except Unavailable:
        return False
    return True


def _tokens(session: Session | None) -> Tokens:
    if session is None or session.expires_at is None:
        raise Unavailable
    return Tokens(session.access_token, session.refresh_token, session.expires_at)


def _without_key_as_bearer(request: httpx.Request) -> None:
    """Drop `Authorization: Bearer sb_…`, which supabase-py adds beside `apikey`: the key is no JWT.

    What hosted Supabase makes of it is documented both ways (contract supabase-py, B7).
    """
    if request.headers.get("authorization") == f"Bearer {request.headers.get('apikey')}":
        del request.headers["authorization"]


@contextmanager
def _refusing(*, denied: type[Refused] = Unavailable) -> Iterator[None]:
    """Turn what supabase-py raises into a Refused. Whatever is not a clear answer is Unavailable, never a yes.

    `denied`: what it means that the database does not permit this. Of the secret key it is a mistake in the set-up.
    """
    try:
        yield
    except AuthWeakPasswordError as error:
        raise WeakPassword from error
    except AuthSessionMissingError as error:
        raise SignInRequired from error
    except AuthApiError as error:
        if error.status >= 500:
            raise Failed from error
        raise _refusal(error.code) from error
    except APIError as error:
        if error.code == "PT409":  # raised on purpose, by passkey_used
            raise CeremonyFailed from error
        if error.code == "42501":
            raise denied from error
        # PostgREST's 401s: the token has expired or is not one. Everything else is our mistake or an outage.
        raise SignInRequired if error.code in ("PGRST301", "PGRST303") else Unavailable from error
    except (AuthError, httpx.HTTPError, httpx.InvalidURL, pydantic.ValidationError) as error:
        raise Unavailable from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:  # an answer that makes no sense
        raise Unavailable from error


def _refusal(code: str | None) -> Refused | Detour:
    kind = REFUSALS.get(code or "")
    return kind() if kind else Rejected(code)
