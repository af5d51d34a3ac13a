"""What every part of the stack is given: addresses, keys, switches, connection pools and the clock."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from psycopg import Connection
from psycopg.rows import DictRow
from psycopg_pool import ConnectionPool

Pool = ConnectionPool[Connection[DictRow]]


@dataclass(frozen=True)
class Keys:
    """The secrets of one installation, made once and kept in its state folder.

    `signing_key` is a private JWK (EC P-256, alg ES256, with kid); it is kept because a new one at every
    start would sign everybody out.
    """

    publishable_key: str  # sb_publishable_…
    secret_key: str  # sb_secret_…
    signing_key: dict[str, Any]
    legacy_secret: str | None = None  # signs the JWT keys of older projects, anon and service_role, with HS256


@dataclass(frozen=True)
class MailTemplate:
    """Subject and HTML body with Supabase's `{{ .TokenHash }}`-style variables."""

    subject: str
    body: str


@dataclass(frozen=True)
class RateLimits:
    """Requests per IP address in five minutes unless a name says otherwise. Defaults are Supabase Auth's own."""

    token_refresh: int = 150  # with password logins and PKCE codes
    token_verifications: int = 30
    sign_in_sign_ups: int = 30  # each of sign-up, otp, magic link, recover, resend and account changes
    mfa_per_minute: int = 15  # each of challenge and verify
    emails_per_hour: int = 30  # of the whole server


@dataclass(frozen=True)
class Config:
    """The switches of supabase/config.toml that the stack understands; defaults are Supabase Auth's own."""

    site_url: str
    redirect_urls: tuple[str, ...] = ()
    jwt_expiry_seconds: int = 3600
    enable_signup: bool = True
    enable_confirmations: bool = True
    secure_email_change: bool = True  # a new address needs the old one's agreement too
    minimum_password_length: int = 6
    # bcrypt's: 2^10 rounds. A lower one is for tests alone: the rounds are all that slows guessing from a stolen hash.
    password_cost: int = 10
    otp_expiry_seconds: int = 3600
    otp_length: int = 6
    mail_interval_seconds: int = 60  # GOTRUE_SMTP_MAX_FREQUENCY: one mail per person and kind
    secure_password_change: bool = False  # a session older than a day needs a nonce, see /reauthenticate
    require_current_password: bool = False
    refresh_token_rotation: bool = True
    refresh_token_reuse_interval_seconds: int = 10
    refresh_token_algorithm: int = 0  # 2: new sessions get signed tokens instead of classic ones
    session_timebox_seconds: int | None = None
    session_inactivity_seconds: int | None = None
    session_low_aal_seconds: int | None = None  # how long somebody with a second factor may stay at aal1
    single_session: bool = False  # the most recently used session of a person is the only one that refreshes
    totp_enroll_enabled: bool = True
    totp_verify_enabled: bool = True
    max_enrolled_factors: int = 10
    access_token_hook: str | None = None  # pg-functions://postgres/public/stamp_assurance
    password_attempt_hook: str | None = None
    mfa_attempt_hook: str | None = None
    # None: no limits, as with an Auth server that was not told which header holds the address.
    rate_limits: RateLimits | None = None
    sb_forwarded_for: bool = False  # believe Sb-Forwarded-For of a caller with the secret key
    mail_templates: dict[str, MailTemplate] = field(default_factory=dict)  # by kind: confirmation, recovery, …


@dataclass(frozen=True)
class Platform:
    """Handed to each part's `blueprint(platform)`.

    `auth_pool` logs in as supabase_auth_admin (search_path auth), `rest_pool` as authenticator. Both give
    dict rows, autocommit off: use `with pool.connection() as connection:`, which is one transaction.
    `clock` gives Unix seconds and is what tokens and authenticator codes are timed by.
    """

    url: str  # http://127.0.0.1:54321, without a trailing slash
    config: Config
    keys: Keys
    auth_pool: Pool
    rest_pool: Pool
    clock: Callable[[], float]

    @property
    def issuer(self) -> str:
        return f"{self.url}/auth/v1"
