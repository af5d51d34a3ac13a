"""What PostgREST knows and the embedded data API was not built for is refused loudly: no database is needed."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from local_supabase import rest_api
from local_supabase.platform import Config, Keys, Platform


@pytest.fixture
def api() -> FlaskClient:
    """A data API without a database: whatever it answers, it answered before asking one."""
    keys = Keys("sb_publishable_p", "sb_secret_s", {})
    platform = Platform("http://127.0.0.1:1", Config("http://x"), keys, None, None, lambda: 0)  # type: ignore[arg-type]
    app = Flask(__name__)
    app.register_blueprint(rest_api.blueprint(platform), url_prefix="/rest/v1")
    client = app.test_client()
    client.environ_base["HTTP_APIKEY"] = "sb_secret_s"
    return client


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/notes?select=*,owner(*)"),
        ("GET", "/notes?select=*,...owner(*)"),
        ("GET", "/notes?select=heading:title"),
        ("GET", "/notes?select=title::text"),
        ("GET", "/notes?select=data->a"),
        ("GET", "/notes?select=stars.sum()"),
        ("GET", "/notes?select=count()"),
        ("GET", "/notes?order=data->a"),
        ("GET", "/notes?order=owner(name)"),
        ("GET", "/notes?data->>a=eq.1"),
        ("GET", "/notes?or=(a.eq.1,b.eq.2)"),
        ("GET", "/notes?not.and=(a.eq.1,b.eq.2)"),
        ("GET", "/notes?owner.or=(a.eq.1)"),
        ("GET", "/notes?tags=cs.{a}"),
        ("GET", "/notes?tags=not.ov.{a}"),
        ("GET", "/notes?title=fts.x"),
        ("GET", "/notes?title=wfts(english).x"),
        ("GET", "/notes?title=match.x"),
        ("GET", "/notes?title=isdistinct.x"),
        ("GET", "/notes?title=like(any).{a,b}"),
        ("GET", "/notes?limit=all"),
        ("GET", "/notes?limit=1&limit=2"),
        ("GET", "/notes?select=a&select=b"),
        ("GET", "/notes?columns=a"),
        ("GET", "/notes?on_conflict=a"),
        ("GET", "/rpc/f?a=1&a=2"),
        ("GET", "/rpc/f?tags=cs.{a}"),
        ("POST", "/rpc/f?columns=a"),
        ("POST", "/notes?id=eq.1"),
        ("POST", "/notes?limit=1"),
        ("PATCH", "/notes?limit=1"),
        ("PATCH", "/notes?order=a"),
        ("PATCH", "/notes?on_conflict=a"),
        ("DELETE", "/notes?limit=1"),
        ("DELETE", "/notes?offset=1"),
        ("PUT", "/notes?id=eq.1"),
    ],
)
def test_what_was_not_built_is_pgrst100(api, method, path):
    answer = api.open(f"/rest/v1{path}", method=method, json={"a": 1})
    assert (answer.status_code, answer.json["code"]) == (400, "PGRST100"), answer.json


@pytest.mark.parametrize(
    "preference",
    ["return=headers-only", "count=planned", "count=estimated", "handling=strict", "max-affected=1", "timezone=UTC"],
)
def test_a_preference_that_would_not_be_kept_is_refused(api, preference):
    answer = api.get("/rest/v1/notes", headers={"Prefer": f"return=minimal, {preference}"})
    assert (answer.status_code, answer.json["code"]) == (400, "PGRST100")


def test_a_range_header_is_refused(api):
    assert api.get("/rest/v1/notes", headers={"Range": "0-4"}).json["code"] == "PGRST100"


def test_a_filter_on_an_embedded_resource_is_refused_as_there_is_none(api):
    for query in ("owner.name=eq.x", "owner.order=name", "owner.limit=1"):
        assert api.get(f"/rest/v1/notes?{query}").json["code"] in ("PGRST100", "PGRST108")


@pytest.mark.parametrize(
    ("method", "body"), [("PATCH", [{"a": 1}]), ("POST", 5), ("POST", "x"), ("POST", None), ("PATCH", 5)]
)
def test_a_body_of_another_shape_is_refused(api, method, body):
    answer = api.open("/rest/v1/notes", method=method, json=body)
    assert (answer.status_code, answer.json["code"]) == (400, "PGRST102")
    if isinstance(body, list):
        assert api.open("/rest/v1/notes?columns=a", method=method, json=body).json["code"] == "PGRST102"


def test_the_description_of_the_api_is_switched_off(api):
    answer = api.get("/rest/v1/")
    assert (answer.status_code, answer.json["code"]) == (404, "PGRST126")
    assert api.options("/rest/v1/notes").json["code"] == "PGRST117"
