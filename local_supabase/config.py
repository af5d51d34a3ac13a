"""Reads supabase/config.toml, the Supabase CLI's file, into the switches the embedded stack understands."""

import re
import tomllib
from pathlib import Path
from typing import Any

from local_supabase.platform import Config, MailTemplate, RateLimits

PROJECT = Path(__file__).parent.parent
UNITS = {"h": 3600, "m": 60, "s": 1}


def read() -> Config:
    """Return the switches of supabase/config.toml.

    A switch the file leaves out keeps Supabase Auth's own default.
    """
    settings = tomllib.loads((PROJECT / "supabase" / "config.toml").read_text())
    auth: dict[str, Any] = settings["auth"]
    email = auth.get("email", {})
    totp = auth.get("mfa", {}).get("totp", {})
    sessions = auth.get("sessions", {})
    limits = auth.get("rate_limit", {})
    values: dict[str, Any] = {
        "redirect_urls": tuple(auth.get("additional_redirect_urls", [])),
        "jwt_expiry_seconds": auth.get("jwt_expiry"),
        "enable_signup": _both(auth.get("enable_signup"), email.get("enable_signup")),
        "enable_confirmations": email.get("enable_confirmations"),
        "secure_email_change": email.get("double_confirm_changes"),
        "minimum_password_length": auth.get("minimum_password_length"),
        "otp_expiry_seconds": email.get("otp_expiry"),
        "otp_length": email.get("otp_length"),
        "mail_interval_seconds": _seconds(email.get("max_frequency")),
        "refresh_token_rotation": auth.get("enable_refresh_token_rotation"),
        "refresh_token_reuse_interval_seconds": auth.get("refresh_token_reuse_interval"),
        "totp_enroll_enabled": totp.get("enroll_enabled"),
        "totp_verify_enabled": totp.get("verify_enabled"),
        "max_enrolled_factors": auth.get("mfa", {}).get("max_enrolled_factors"),
        "secure_password_change": email.get("secure_password_change"),
        "session_timebox_seconds": _seconds(sessions.get("timebox")),
        "session_inactivity_seconds": _seconds(sessions.get("inactivity_timeout")),
        "access_token_hook": _hook(auth, "custom_access_token"),
        "password_attempt_hook": _hook(auth, "password_verification_attempt"),
        "mfa_attempt_hook": _hook(auth, "mfa_verification_attempt"),
        "rate_limits": RateLimits(
            **_given(
                token_refresh=limits.get("token_refresh"),
                token_verifications=limits.get("token_verifications"),
                sign_in_sign_ups=limits.get("sign_in_sign_ups"),
                emails_per_hour=limits.get("email_sent"),
            )
        ),
        # A switch of the hosted dashboard which this file has no name for.
        "sb_forwarded_for": True,
        "mail_templates": {
            kind: MailTemplate(template["subject"], (PROJECT / template["content_path"]).read_text())
            for kind, template in email.get("template", {}).items()
        },
    }
    return Config(site_url=auth["site_url"], **_given(**values))


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _hook(auth: dict[str, Any], name: str) -> str | None:
    hook = auth.get("hook", {}).get(name, {})
    return hook.get("uri") if hook.get("enabled") else None


def _both(*switches: bool | None) -> bool:
    return all(switch is not False for switch in switches)


def _seconds(duration: str | None) -> int | None:
    """Whole seconds of a Go duration such as "1m30s"."""
    if duration is None:
        return None
    return sum(int(count) * UNITS[unit] for count, unit in re.findall(r"(\d+)([hms])", duration))
