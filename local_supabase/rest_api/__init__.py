"""/rest/v1: the part of PostgREST that supabase-py's `.table()` and `.rpc()` use, over the same Postgres.

What PostgREST knows and this does not (embedding, aliases, casts, JSON paths, aggregates, `or`, array and
full-text operators, PUT, CSV, OpenAPI) is answered with an error that says so, never with something else.
"""

import json
from collections.abc import Mapping

from flask import Blueprint, Request, Response, request

from local_supabase.api_keys import BadToken, Caller, InvalidApiKey, caller_of
from local_supabase.platform import Platform
from local_supabase.rest_api.asked import read_request
from local_supabase.rest_api.errors import RestError, from_token
from local_supabase.rest_api.functions import call
from local_supabase.rest_api.tables import change, read
from local_supabase.rest_api.transaction import transaction

LEEWAY_SECONDS = 30  # as PostgREST: the clocks of Auth and of the data API may differ
ROLES = ("anon", "authenticated", "service_role")
METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", "OPTIONS")


def blueprint(platform: Platform) -> Blueprint:
    """The routes below /rest/v1: one view, since PostgREST too decides by path and method together."""
    rest = Blueprint("rest_api", __name__)

    @rest.route("/", defaults={"path": ""}, methods=METHODS, provide_automatic_options=False)
    @rest.route("/<path:path>", methods=METHODS, provide_automatic_options=False)
    def serve(path: str) -> Response:
        try:
            return _answer(platform, request, path)
        except InvalidApiKey as error:
            return _error(error.body, 401)
        except RestError as error:
            return _error(error.body, error.status_line, error.headers)

    return rest


def _answer(platform: Platform, request: Request, path: str) -> Response:
    caller = _caller(platform, request)
    asked = read_request(request, path)
    act = call if asked.kind == "rpc" else read if asked.reads else change
    with transaction(platform.rest_pool, role=caller.role) as cursor:
        return act(cursor, caller, asked)


def _caller(platform: Platform, request: Request) -> Caller:
    try:
        caller = caller_of(platform, request, leeway_seconds=LEEWAY_SECONDS)
    except BadToken as error:
        raise from_token(error) from error
    if caller is None:
        return Caller("anon", {"role": "anon"})
    if caller.role not in ROLES:
        # The claim is signed, but a hook or an admin call can put any name into it.
        raise RestError(403, "42501", f'permission denied to set role "{caller.role}"')
    return caller


def _error(body: Mapping[str, str | None], status: int | str, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(body), status=status, headers=headers, content_type="application/json; charset=utf-8")
