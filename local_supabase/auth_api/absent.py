"""What Supabase Auth can do and this server does not: each says so as a project would that has it switched off."""

from typing import NoReturn
from urllib.parse import urlencode

from flask import Response

from local_supabase.auth_api.call import Call
from local_supabase.auth_api.callers import require_admin, signed_in
from local_supabase.auth_api.errors import Refused, bad_request


def authorize(call: Call) -> NoReturn:
    """GET /authorize: no OAuth provider is on."""
    raise bad_request("Unsupported provider: provider is not enabled")


def callback(call: Call) -> Response:
    """GET and POST /callback: nothing was ever begun here, so no `state` is right; home, with the error."""
    code = "bad_oauth_state" if call.request.values.get("state") else "bad_oauth_callback"
    error = {"error": "invalid_request", "error_code": code, "error_description": "OAuth state is missing or invalid"}
    return Response(status=303, headers={"Location": f"{call.platform.config.site_url}?{urlencode(error)}"})


def linking(call: Call, **_path: str) -> NoReturn:
    """/user/identities/…: linking by hand is off."""
    signed_in(call)
    raise Refused(404, "manual_linking_disabled", "Manual linking is disabled")


def passkeys(call: Call, **_path: str) -> NoReturn:
    """/passkeys/…: the app verifies its own."""
    raise Refused(404, "passkey_disabled", "Passkeys are disabled")


def admins_passkeys(call: Call, **_path: str) -> NoReturn:
    """/admin/users/{id}/passkeys/…"""
    require_admin(call)
    raise Refused(404, "passkey_disabled", "Passkeys are disabled")


def saml(call: Call, **_path: str) -> NoReturn:
    """/sso/…"""
    raise Refused(404, "saml_provider_disabled", "SAML 2.0 is disabled")


def oauth_server(call: Call, **_path: str) -> NoReturn:
    """/oauth/…: being somebody else's OAuth provider."""
    raise Refused(404, "feature_disabled", "OAuth server is disabled")


def id_token(call: Call) -> NoReturn:
    """POST /token?grant_type=id_token: no provider whose tokens would count is on."""
    raise Refused(400, "provider_disabled", "Provider is not enabled")


def web3(call: Call) -> NoReturn:
    """POST /token?grant_type=web3."""
    raise Refused(422, "web3_provider_disabled", "Web3 provider is disabled")
