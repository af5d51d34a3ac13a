"""A request as a value: everything that can be read, and refused, before the database is touched."""

import json
from dataclasses import dataclass, replace
from typing import Any, Literal

from flask import Request

from local_supabase.rest_api.errors import RestError, bad_body, not_built
from local_supabase.rest_api.query import Preferences, Query, parse, parse_preferences

JSON = "application/json"
ONE_OBJECT = "application/vnd.pgrst.object+json"


@dataclass(frozen=True)
class Asked:
    """`single` asks for exactly one row, as an object. `body` is JSON text, None where none is read;
    `query.columns` then names its keys, or those of its rows if it is a list. `headers` has lower-case names
    and no cookies."""

    kind: Literal["table", "rpc"]
    name: str
    method: str
    query: Query
    preferences: Preferences
    single: bool
    body: str | None
    headers: dict[str, str]
    cookies: dict[str, str]

    @property
    def path(self) -> str:
        return f"/rpc/{self.name}" if self.kind == "rpc" else f"/{self.name}"

    @property
    def reads(self) -> bool:
        return self.method in ("GET", "HEAD")

    @property
    def body_is_list(self) -> bool:
        return (self.body or "").lstrip(" \t\r\n").startswith("[")


def read_request(request: Request, path: str) -> Asked:
    """Read what is asked of `path`, which is relative to /rest/v1.

    Raises:
        RestError: PGRST1nn for what is wrong or not built.
    """
    kind, name = _resource(path)
    _check_profile(request)
    _check_method(kind, request.method)
    if request.method == "GET" and "Range" in request.headers:
        raise not_built("The Range header")
    asked = Asked(
        kind=kind,
        name=name,
        method=request.method,
        query=parse(request.query_string, calls_function=kind == "rpc" and request.method != "POST"),
        preferences=parse_preferences(request.headers.getlist("Prefer")),
        single=_wants_one_object(request.headers.get("Accept", "*/*")),
        body=_body(request) if request.method in ("POST", "PATCH") else None,
        headers={key.lower(): value for key, value in request.headers if key.lower() != "cookie"},
        cookies=dict(request.cookies),
    )
    return _with_keys_of_body(_without_what_changes_ignore(asked))


def _resource(path: str) -> tuple[Literal["table", "rpc"], str]:
    if "\0" in path:
        raise RestError(400, "PGRST100", "The path contains a NUL, which Postgres text cannot hold")
    match path.split("/"):
        case [""]:
            raise RestError(404, "PGRST126", "Root endpoint metadata is disabled")
        case [table]:
            return "table", table
        case ["rpc", function] if function:
            return "rpc", function
        case _:
            raise RestError(404, "PGRST125", "Invalid path specified in request URL")


def _check_profile(request: Request) -> None:
    header = "Accept-Profile" if request.method in ("GET", "HEAD") else "Content-Profile"
    schema = request.headers.get(header, "public")
    if schema != "public":
        exposed = "Only the following schemas are exposed: public"
        raise RestError(406, "PGRST106", f"Invalid schema: {schema}", hint=exposed)


def _check_method(kind: str, method: str) -> None:
    if kind == "rpc" and method not in ("GET", "HEAD", "POST"):
        raise RestError(405, "PGRST101", f"Cannot use the {method} method on RPC")
    if method == "PUT":
        raise not_built("PUT")
    if method == "OPTIONS":
        raise RestError(405, "PGRST117", f"Unsupported HTTP method: {method}")


def _wants_one_object(accept: str) -> bool:
    accepted = [media.strip() for media in accept.split(",")]
    for media in accepted:
        kind = media.replace("; ", ";").removesuffix(";charset=utf-8")
        if kind in ("*/*", JSON):
            return False
        if kind == ONE_OBJECT:
            return True
    raise RestError(406, "PGRST107", f"None of these media types are available: {', '.join(accepted)}")


def _body(request: Request) -> str:
    kind = request.headers.get("Content-Type", JSON).split(";")[0].strip().lower()
    if kind != JSON:
        raise bad_body(f"Content-Type not acceptable: {kind}")
    try:
        return request.get_data().decode()
    except UnicodeDecodeError as error:
        raise bad_body("Empty or invalid json") from error


def _without_what_changes_ignore(asked: Asked) -> Asked:
    """Refuse what PostgREST passes over: it would let `update … limit 1` change every row."""
    query, changes = asked.query, asked.kind == "table" and not asked.reads
    for parameter, given in (
        ("order", changes and query.order),
        ("limit", changes and query.limit is not None),
        ("offset", changes and query.offset),
        ("filters", changes and asked.method == "POST" and query.filters),
        ("columns", query.columns is not None and (asked.kind == "rpc" or asked.method not in ("POST", "PATCH"))),
        ("on_conflict", query.on_conflict is not None and (asked.kind == "rpc" or asked.method != "POST")),
    ):
        if given:
            raise not_built(f"'{parameter}' on {asked.method} {asked.path}")
    return asked


def _with_keys_of_body(asked: Asked) -> Asked:
    if asked.body is None:
        return asked
    if asked.query.columns is not None:  # the body's own keys do not count, so Postgres is its only reader
        if asked.method == "PATCH" and asked.body_is_list:
            raise bad_body(_OBJECT_EXPECTED)
        return asked
    if asked.kind == "rpc" and not asked.body:
        asked = replace(asked, body="{}")
    keys = _keys_of_rows if asked.kind == "table" and asked.method == "POST" else _keys_of_object
    return replace(asked, query=replace(asked.query, columns=keys(_decoded(asked.body or ""))))


def _keys_of_rows(decoded: Any) -> tuple[str, ...]:
    if not isinstance(decoded, list):
        return _keys_of_object(decoded)
    if not all(isinstance(row, dict) and row.keys() == decoded[0].keys() for row in decoded):
        raise bad_body("All object keys must match")
    return tuple(decoded[0]) if decoded else ()


def _keys_of_object(decoded: Any) -> tuple[str, ...]:
    if not isinstance(decoded, dict):
        raise bad_body(_OBJECT_EXPECTED)
    return tuple(decoded)


def _decoded(body: str) -> Any:
    """Only to learn the keys; Postgres reads the values. So numbers are left alone, however long."""
    try:
        return json.loads(body, parse_int=str, parse_float=str, parse_constant=_no_such_constant)
    except (ValueError, RecursionError) as error:  # nesting too deep for the parser is no server error
        raise bad_body("Empty or invalid json") from error


def _no_such_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_OBJECT_EXPECTED = "A JSON object is expected; anything else is not built into the embedded stack"
