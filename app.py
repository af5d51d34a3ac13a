"""The app: settings, wiring, security headers, blueprints and error pages, in that order."""

import hashlib
import hmac
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Literal
from urllib.parse import urlsplit

from cryptography.fernet import Fernet, MultiFernet
from flask import Flask, Response, current_app, redirect, request, url_for
from flask_limiter import RateLimitExceeded
from flask_wtf.csrf import CSRFError, CSRFProtect
from limits.errors import StorageError
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from auth.administration import Administration
from auth.assurance import Policy
from auth.attempts import Rules
from auth.gateway import Gateway, connection_pool, visitor_address
from auth.notices import Notices
from auth.passkey_flows import PasskeyFlows
from auth.passkeys import RelyingParty
from auth.recovery_codes import LENGTHS
from auth.recovery_flows import RecoveryCodes
from auth.refusals import (
    CodesUsedUp,
    FactorRequired,
    Refused,
    SignInRequired,
    StepUpRequired,
    TooManyRequests,
    Unavailable,
)
from auth.tokens import Issuer, KeySet
from auth.totp import AuthenticatorApps
from auth.vault import Vault
from blueprints import (
    account,
    admin,
    billing,
    change_email,
    commands,
    confirm,
    elsewhere,
    interrupted,
    leaving,
    login,
    machine,
    passkeys,
    password,
    recovery_codes,
    security_log,
    session,
    signup,
    step_up,
    totp,
)
from blueprints.destination import here
from blueprints.htmx import refusal_page
from blueprints.limits import limiter
from blueprints.services import Services

log = logging.getLogger(__name__)


class Settings(BaseSettings):
    """Read once, from the environment or a .env file; each is explained in .env.example."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, str_strip_whitespace=True)

    supabase_url: str = Field(pattern=r"^https?://[^/\s]+")
    supabase_publishable_key: str = Field(
        min_length=1, validation_alias=AliasChoices("SUPABASE_PUBLISHABLE_KEY", "SUPABASE_ANON_KEY")
    )
    supabase_secret_key: SecretStr = Field(
        min_length=1, validation_alias=AliasChoices("SUPABASE_SECRET_KEY", "SUPABASE_SERVICE_ROLE_KEY")
    )
    secret_key: SecretStr = Field(min_length=32)
    vault_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(min_length=1)
    recovery_code_pepper: Annotated[tuple[SecretStr, ...], NoDecode] = Field(min_length=1)
    public_url: str = Field(default="http://localhost:5000", pattern=r"^https?://[^/\s]+$")
    app_name: str = "Stepup"
    rp_id: str | None = None
    rp_name: str | None = None
    related_origins: Annotated[tuple[str, ...], NoDecode] = ()
    passkey_timeout_ms: int = Field(default=300_000, ge=1000, le=600_000)
    security_key_roles: Annotated[tuple[str, ...], NoDecode] = ("admin",)
    mailbox_url: str | None = None
    mail_url: SecretStr = SecretStr("")
    # One address, with a name before it or not.
    mail_from: str = Field(default="", pattern=r"^([^<>@,;:\"\r\n]+ <[^\s<>@,]+@[^\s<>@,]+>|[^\s<>@,]+@[^\s<>@,]+)?$")
    mfa_policy: Literal["optional", "encouraged", "required"] = "optional"
    mfa_required_roles: Annotated[tuple[str, ...], NoDecode] = ("admin",)
    mfa_enabled: bool = True
    mfa_attempts_limit: int = Field(default=5, ge=1)
    mfa_attempts_window_seconds: int = Field(default=900, ge=60)
    mfa_attempts_cap: int = Field(default=60, ge=5, le=100)
    recovery_code_length: int = LENGTHS[0]
    recovery_code_ttl_days: int = Field(default=0, ge=0)
    supabase_timeout_seconds: float = Field(default=5, gt=0, le=6)  # less than the vault's lease of 7 s
    rate_limits: str = "20 per 5 minutes; 100 per hour"
    redis_url: str = "memory://"
    trusted_proxies: int = Field(default=0, ge=0)
    session_days: int = Field(default=30, ge=1)
    log_days: int = Field(default=90, ge=1)
    address_days: int = Field(default=30, ge=1)

    @field_validator(
        "vault_keys",
        "recovery_code_pepper",
        "related_origins",
        "security_key_roles",
        "mfa_required_roles",
        mode="before",
    )
    @classmethod
    def _comma_separated(cls, text: object) -> object:
        return tuple(key.strip() for key in text.split(",") if key.strip()) if isinstance(text, str) else text

    @field_validator("vault_keys")
    @classmethod
    def _fernet_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in keys:
            Fernet(key.get_secret_value())
        return keys

    @field_validator("recovery_code_pepper")
    @classmethod
    def _named_secrets(cls, peppers: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        parts = [pepper.get_secret_value().partition(":") for pepper in peppers]
        if any(not name or len(secret) < 32 for name, _, secret in parts):
            raise ValueError("each is a name, a colon and a secret of at least 32 characters")
        if len({name for name, _, _ in parts}) < len(parts):
            raise ValueError("each needs a name of its own")
        return peppers

    @field_validator("mail_url")
    @classmethod
    def _smtp_address(cls, url: SecretStr) -> SecretStr:
        parts = urlsplit(url.get_secret_value())
        if url.get_secret_value() and (parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.port == 0):
            raise ValueError("smtp:// or smtps://, and the name of a mail server")
        return url

    @field_validator("recovery_code_length")
    @classmethod
    def _known_length(cls, length: int) -> int:
        if length not in LENGTHS:
            raise ValueError("8 or 16")
        return length


def create_app(settings: Settings | None = None, *, clock: Callable[[], float] = time.time) -> Flask:
    app = Flask(__name__)
    settings = settings or _settings_or_exit()
    _configure(app, settings)
    app.extensions["stepup"] = _services(settings, clock)
    CSRFProtect(app)
    limiter.init_app(app)

    app.add_template_filter(_utc, "utc")

    app.before_request(_redirect_to_localhost)
    app.before_request(_refuse_what_cannot_be_stored)
    app.before_request(lambda: visitor_address.set(request.remote_addr) and None)
    app.after_request(session.send_cookie)
    app.after_request(_security_headers)

    for module in (
        account,
        signup,
        confirm,
        login,
        password,
        change_email,
        step_up,
        totp,
        passkeys,
        recovery_codes,
        elsewhere,
        billing,
        leaving,
        security_log,
        admin,
        machine,
    ):
        app.register_blueprint(module.bp)

    _handle_errors(app)
    commands.register(app, settings, clock)
    return app


def _handle_errors(app: Flask) -> None:
    app.register_error_handler(SignInRequired, lambda detour: login.ask_first(detour.action))
    app.register_error_handler(StepUpRequired, lambda detour: step_up.ask_first(detour.action))
    app.register_error_handler(FactorRequired, _factor_required)
    app.register_error_handler(CodesUsedUp, _codes_used_up)
    app.register_error_handler(Refused, _refused)
    app.register_error_handler(CSRFError, _csrf_error)
    app.register_error_handler(RateLimitExceeded, lambda _: refusal_page(TooManyRequests()))
    app.register_error_handler(StorageError, _uncounted)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _crashed)


def _settings_or_exit() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            print(f"{str(problem['loc'][0]).upper()}: {problem['msg']}.", file=sys.stderr)
        print(
            "`make run` starts everything with an embedded Supabase; .env.example lists all settings.", file=sys.stderr
        )
        raise SystemExit(2) from None


def _configure(app: Flask, settings: Settings) -> None:
    secure = settings.public_url.startswith("https://")
    app.config.update(
        NAME=settings.app_name,
        PUBLIC_URL=settings.public_url,
        SECRET_KEY=settings.secret_key.get_secret_value(),
        # __Host- keeps another name under our domain from planting a cookie here; browsers want https for it.
        VAULT_COOKIE_NAME="__Host-stepup" if secure else "stepup",
        SESSION_COOKIE_NAME="__Host-session" if secure else "session",
        SESSION_COOKIE_SECURE=secure,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        WTF_CSRF_TIME_LIMIT=None,  # a sign-in page left open must still work; the token lives as long as the session
        MAX_CONTENT_LENGTH=64 * 1024,
        LOG_DAYS=settings.log_days,
        RELATED_ORIGINS=list(settings.related_origins),
        SECURITY_KEY_ROLES=frozenset(settings.security_key_roles),
        RATE_LIMITS=settings.rate_limits,
        RATELIMIT_STORAGE_URI=settings.redis_url,
        # Its errors under one name, and soon: nobody tries uncounted while Redis is away, and nobody waits for long.
        RATELIMIT_STORAGE_OPTIONS={"wrap_exceptions": True, "socket_connect_timeout": 2, "socket_timeout": 2},
    )
    if settings.trusted_proxies:
        # Only as many entries of X-Forwarded-For are believed as there are proxies of ours to have written them.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.trusted_proxies, x_proto=settings.trusted_proxies)


def _services(settings: Settings, clock: Callable[[], float]) -> Services:
    supabase_url = settings.supabase_url.rstrip("/")
    gateway = Gateway(
        url=supabase_url,
        publishable_key=settings.supabase_publishable_key,
        secret_key=settings.supabase_secret_key.get_secret_value(),
        http=connection_pool(settings.supabase_timeout_seconds),
    )
    vault = Vault(gateway, MultiFernet([Fernet(key.get_secret_value()) for key in settings.vault_keys]), clock)
    issuer = Issuer(f"{supabase_url}/auth/v1", KeySet(gateway.public_keys, clock))
    rules = Rules(settings.mfa_attempts_limit, settings.mfa_attempts_window_seconds, settings.mfa_attempts_cap)
    notices = _notices(settings)
    return Services(
        gateway=gateway,
        vault=vault,
        issuer=issuer,
        apps=AuthenticatorApps(
            gateway,
            vault,
            issuer,
            rules,
            notices,
            code_key=hmac.digest(settings.secret_key.get_secret_value().encode(), b"spent codes", hashlib.sha256),
        ),
        passkeys=PasskeyFlows(gateway, vault, issuer, _relying_party(settings), settings.passkey_timeout_ms),
        codes=RecoveryCodes(
            gateway,
            vault,
            issuer,
            rules,
            peppers=dict(_named(pepper.get_secret_value()) for pepper in settings.recovery_code_pepper),
            length=settings.recovery_code_length,
            ttl_days=settings.recovery_code_ttl_days or None,
        ),
        notices=notices,
        administration=Administration(gateway, notices, rules),
        policy=Policy(settings.mfa_policy, frozenset(settings.mfa_required_roles), settings.mfa_enabled),
        clock=clock,
        mailbox_url=settings.mailbox_url,
    )


def _notices(settings: Settings) -> Notices:
    if not settings.mail_url.get_secret_value():
        log.warning("MAIL_URL is empty: nobody is told by mail what happens to their account.")
    return Notices(
        mail_url=settings.mail_url.get_secret_value() or None,
        sender=settings.mail_from or f"no-reply@{urlsplit(settings.public_url).hostname}",
        app_name=settings.app_name,
        public_url=settings.public_url,
    )


def _relying_party(settings: Settings) -> RelyingParty:
    return RelyingParty(
        id=settings.rp_id or str(urlsplit(settings.public_url).hostname),
        name=settings.rp_name or settings.app_name,
        # Exact, and from the settings: what a Host header says must not make an origin ours.
        origins=(settings.public_url, *settings.related_origins),
    )


def _named(pepper: str) -> tuple[str, bytes]:
    name, _, secret = pepper.partition(":")
    return name, secret.encode()


def _utc(timestamp: float) -> str:
    """Unix time as ISO 8601, for <time datetime>."""
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="seconds")


def _redirect_to_localhost() -> Response | None:
    """Send 127.0.0.1 to localhost, in development: passkeys cannot work on an IP address, and cookies would differ."""
    public_url = current_app.config["PUBLIC_URL"]
    if urlsplit(public_url).hostname == "localhost" and request.host.split(":")[0] == "127.0.0.1":
        return redirect(public_url + request.full_path.rstrip("?"), 308)
    return None


def _refuse_what_cannot_be_stored() -> None:
    """Postgres keeps no NUL in text, and would answer with an error that looks like an outage."""
    if any("\x00" in text for text in request.form.values()):
        raise Refused("That holds characters that cannot be kept.", status=400)


def _security_headers(response: Response) -> Response:
    response.headers.setdefault(
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    # same-origin, not no-referrer: Flask-WTF wants a Referer on https.
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Permissions-Policy"] = (
        "camera=(), geolocation=(), microphone=(), payment=(), usb=(), "
        "publickey-credentials-get=(self), publickey-credentials-create=(self)"
    )
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    if current_app.config["SESSION_COOKIE_SECURE"]:
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
    if request.endpoint != "static":
        # Every page is somebody's. Kept by no cache, not shown again by the back button after signing out.
        response.headers["Cache-Control"] = "no-store"
    return response


def _refused(refusal: Refused) -> Response:
    if isinstance(refusal, Unavailable):
        log.warning("Supabase: %s", type(refusal.__cause__).__name__)
    return refusal_page(refusal)


def _uncounted(error: StorageError) -> Response:
    log.warning("tries cannot be counted: %s", type(error.storage_error).__name__)
    return refusal_page(Unavailable())


def _factor_required(detour: FactorRequired) -> Response:
    url = url_for("account.security", next=here(), action=detour.action)
    return interrupted.detour(url, "This takes a second factor, and you have none.", "Set one up")


def _codes_used_up(_detour: CodesUsedUp) -> Response:
    url = url_for("recovery_codes.show", next=here())
    return interrupted.detour(url, "That was your last recovery code.", "Make new ones")


def _csrf_error(_error: CSRFError) -> Response:
    try:
        who = session.current()
    except Unavailable:
        who = None
    return interrupted.with_a_stale_token(who)


def _http_error(error: HTTPException) -> Response:
    sentences = {
        404: "There is no page at this address.",
        405: "This address cannot be used in that way.",
        413: "That is more than this page takes.",
    }
    code = error.code or 500
    if code < 400:
        return error.get_response()  # werkzeug's own redirects
    response = refusal_page(Refused(sentences.get(code, "The request could not be understood."), status=code))
    if code == 405:
        response.headers["Allow"] = error.get_response().headers.get("Allow", "")
    return response


def _crashed(error: Exception) -> Response:
    log.error("unhandled", exc_info=error)
    return refusal_page(Refused("Something went wrong here, and it is our fault. Please try again.", status=500))
