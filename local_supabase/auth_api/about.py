"""What the server says about itself."""

from typing import Any

from local_supabase.platform import Platform

_PROVIDERS = (
    "apple azure bitbucket discord facebook snapchat figma fly github gitlab google keycloak kakao linkedin"
    " linkedin_oidc notion spotify slack slack_oidc workos twitch twitter zoom"
).split()


def health(platform: Platform) -> dict[str, Any]:
    """GET /health: answers as long as the process runs, whatever the database does."""
    return {"version": "embedded", "name": "GoTrue", "description": "Supabase Auth, embedded"}


def settings(platform: Platform) -> dict[str, Any]:
    """GET /settings: which ways of signing in are open."""
    off = dict.fromkeys((*_PROVIDERS, "anonymous_users", "phone"), False)
    return {
        "external": off | {"email": True},
        "disable_signup": not platform.config.enable_signup,
        "mailer_autoconfirm": not platform.config.enable_confirmations,
        "phone_autoconfirm": False,
        "sms_provider": "",
        "saml_enabled": False,
        "saml_private_key_next_configured": False,
        "passkeys_enabled": False,
    }
