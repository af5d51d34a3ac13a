"""/auth/v1: Supabase Auth's endpoints, one transaction per request."""

import json
import logging
import time
from collections.abc import Callable
from typing import Any

import psycopg
from flask import Blueprint, Request, Response, request
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Map, Rule

from local_supabase import api_keys
from local_supabase.auth_api import (
    about,
    absent,
    account,
    admin,
    audit,
    factors,
    invitations,
    links,
    mail_requests,
    passwords,
    sessions,
    sign_up,
    steady,
    tokens,
)
from local_supabase.auth_api.call import Call, address_of
from local_supabase.auth_api.errors import API_VERSION_HEADER, Refused, bad_request, unexpected
from local_supabase.auth_api.limits import Limiter
from local_supabase.platform import Platform

# A handler takes a Call and the path's variables. It returns JSON, a Response, or a refusal whose writes are
# kept; a refusal it raises undoes them.
ROUTES = Map(
    [
        Rule("/signup", methods=["POST"], endpoint=sign_up.sign_up),
        Rule("/recover", methods=["POST"], endpoint=mail_requests.recover),
        Rule("/otp", methods=["POST"], endpoint=mail_requests.otp),
        Rule("/magiclink", methods=["POST"], endpoint=mail_requests.magic_link),
        Rule("/resend", methods=["POST"], endpoint=mail_requests.resend),
        Rule("/token", methods=["POST"], endpoint=sessions.grant),
        Rule("/verify", methods=["POST"], endpoint=links.verify),
        Rule("/verify", methods=["GET"], endpoint=links.follow),
        Rule("/logout", methods=["POST"], endpoint=sessions.logout),
        Rule("/user", methods=["GET"], endpoint=account.show),
        Rule("/user", methods=["PUT"], endpoint=account.change),
        Rule("/reauthenticate", methods=["GET"], endpoint=account.reauthenticate),
        Rule("/factors", methods=["POST"], endpoint=factors.enroll),
        Rule("/factors/<factor_id>", methods=["DELETE"], endpoint=factors.unenroll),
        Rule("/factors/<factor_id>/challenge", methods=["POST"], endpoint=factors.challenge),
        Rule("/factors/<factor_id>/verify", methods=["POST"], endpoint=factors.verify),
        Rule("/admin/users", methods=["POST"], endpoint=admin.create),
        Rule("/admin/users", methods=["GET"], endpoint=admin.list_all),
        Rule("/admin/users/<user_id>", methods=["GET"], endpoint=admin.show),
        Rule("/admin/users/<user_id>", methods=["PUT"], endpoint=admin.change),
        Rule("/admin/users/<user_id>", methods=["DELETE"], endpoint=admin.delete),
        Rule("/admin/users/<user_id>/factors", methods=["GET"], endpoint=admin.list_factors),
        Rule("/admin/users/<user_id>/factors/<factor_id>", methods=["DELETE"], endpoint=admin.delete_factor),
        Rule("/admin/users/<user_id>/factors/<factor_id>", methods=["PUT"], endpoint=admin.change_factor),
        Rule("/admin/generate_link", methods=["POST"], endpoint=invitations.generate_link),
        Rule("/invite", methods=["POST"], endpoint=invitations.invite),
        Rule("/admin/audit", methods=["GET"], endpoint=audit.list_all),
        Rule("/authorize", methods=["GET"], endpoint=absent.authorize),
        Rule("/callback", methods=["GET", "POST"], endpoint=absent.callback),
        Rule("/user/identities/authorize", methods=["GET"], endpoint=absent.linking),
        Rule("/user/identities/<identity_id>", methods=["DELETE"], endpoint=absent.linking),
        Rule("/passkeys", endpoint=absent.passkeys),
        Rule("/passkeys/<path:rest>", endpoint=absent.passkeys),
        Rule("/admin/users/<user_id>/passkeys", methods=["GET"], endpoint=absent.admins_passkeys),
        Rule("/admin/users/<user_id>/passkeys/<passkey_id>", methods=["DELETE"], endpoint=absent.admins_passkeys),
        Rule("/sso", endpoint=absent.saml),
        Rule("/sso/<path:rest>", endpoint=absent.saml),
        Rule("/oauth/<path:rest>", endpoint=absent.oauth_server),
        Rule("/settings", methods=["GET"], endpoint=about.settings),
        Rule("/health", methods=["GET"], endpoint=about.health),
        Rule("/.well-known/jwks.json", methods=["GET"], endpoint=tokens.jwks),
    ]
)
WITHOUT_DATABASE = {about.settings, about.health, tokens.jwks}  # given the platform; they answer when Postgres is down
# A browser or a library asks, without headers.
WITHOUT_API_KEY = {links.follow, absent.authorize, absent.callback, about.health, tokens.jwks}

CONNECTION_TIMEOUT_SECONDS = 3  # less than the 5 s after which clients hang up, so that they hear why
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

log = logging.getLogger(__name__)


def blueprint(platform: Platform) -> Blueprint:
    """Return the endpoints, to be mounted at /auth/v1."""
    auth = Blueprint("auth_api", __name__)
    limiter = Limiter(platform.config)
    passwords.hash_seconds(platform.config)  # measured now, or somebody's first answer would take longer

    @auth.route("/", defaults={"path": ""}, methods=METHODS, provide_automatic_options=False)
    @auth.route("/<path:path>", methods=METHODS, provide_automatic_options=False)
    def answer(path: str) -> Response:
        # Dispatched here and not by Flask, so that an unknown path below /auth/v1 is this API's own 404.
        try:
            handler, arguments = ROUTES.bind("").match("/" + path.rstrip("/"), request.method)
        except NotFound:
            return Response("404 page not found\n", 404, mimetype="text/plain")
        except MethodNotAllowed:
            return Response(status=405)
        if request.method == "HEAD":  # routing takes it for GET; a mail scanner's HEAD must not use up a link
            return Response(status=405)
        begin = time.monotonic()
        response = _answered(platform, limiter, request, handler, arguments)
        steady.wait(platform.config, handler, response, since=begin)
        return response

    return auth


def _answered(
    platform: Platform, limiter: Limiter, request: Request, handler: Callable[..., Any], arguments: Any
) -> Response:
    try:
        return _done(platform, limiter, request, handler, arguments)
    except api_keys.InvalidApiKey as error:
        return _json(error.body, 401)
    except Refused as refusal:
        return _refusal(refusal)
    except psycopg.OperationalError as error:
        log.exception("database error")
        if error.sqlstate is None or error.sqlstate.startswith(("08", "57P")):
            return _refusal(Refused(503, "unknown", "The database is not available, try again"))
        return _refusal(unexpected())
    except Exception:
        log.exception("unexpected failure")
        return _refusal(unexpected())


def _done(
    platform: Platform, limiter: Limiter, request: Request, handler: Callable[..., Any], arguments: Any
) -> Response:
    if handler not in WITHOUT_API_KEY:
        api_keys.key_role(platform, request)
    if any("\x00" in value for value in request.args.values()):
        raise bad_request("The query holds a value that cannot be stored")
    if handler in WITHOUT_DATABASE:
        return _response(handler(platform))
    with platform.auth_pool.connection(timeout=CONNECTION_TIMEOUT_SECONDS) as connection:
        call = Call(platform, request, connection, limiter, ip=address_of(platform, request))
        return _response(handler(call, **arguments))


def _response(result: Any) -> Response:
    match result:
        case Response():
            return result
        case Refused():
            return _refusal(result)
        case _:
            return _json(result, 200)


def _refusal(refusal: Refused) -> Response:
    return refusal.answer(request.headers.get(API_VERSION_HEADER))


def _json(body: Any, status: int) -> Response:
    return Response(json.dumps(body), status, mimetype="application/json")
