"""How the data API says no (contract C3): status, code, body and headers."""

import pytest
from postgrest.exceptions import APIError


@pytest.fixture
def token(alice):
    return alice.sign_in().access_token


def assert_error(answer, status, code):
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert set(answer.json()) == {"code", "message", "details", "hint"}
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.headers["Proxy-Status"] == f"PostgREST; error={code}"


def test_a_missing_right_is_401_for_nobody_and_403_for_somebody(call, playground, token):
    nobody = call("GET", f"/{playground.notes}")
    assert_error(nobody, 401, "42501")
    assert nobody.headers["WWW-Authenticate"] == "Bearer"
    assert_error(call("GET", f"/{playground.stock}", token=token), 403, "42501")
    assert_error(call("POST", f"/rpc/{playground.closed}", json={}), 401, "42501")
    assert_error(call("POST", f"/rpc/{playground.closed}", token=token, json={}), 403, "42501")
    assert "WWW-Authenticate" not in call("GET", f"/{playground.stock}", token=token).headers


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/{stock}", [{"sku": "twice"}, {"sku": "twice"}], 409, "23505"),
        ("POST", "/{notes}", {"title": "x", "owner": "00000000-0000-4000-8000-000000000000"}, 409, "23503"),
        ("POST", "/{stock}", {"amount": 1}, 400, "23502"),
        ("POST", "/{notes}", {"title": "forbidden", "owner": "00000000-0000-4000-8000-000000000000"}, 400, "23514"),
        ("POST", "/{stock}", {"sku": "x", "amount": "many"}, 400, "22P02"),
        ("POST", "/{stock}", {"sku": "x", "amount": 99999999999}, 400, "22003"),
        ("GET", "/{things}?n=eq.many", None, 400, "22P02"),
        ("GET", "/{things}?select=nowhere", None, 400, "42703"),
        ("GET", "/{things}?nowhere=eq.1", None, 400, "42703"),
        ("GET", "/{things}?order=nowhere", None, 400, "42703"),
        ("GET", "/{things}?n=like.1", None, 404, "42883"),
        ("POST", "/{stock}?on_conflict=amount", {"sku": "x"}, 400, "42P10"),
        ("POST", "/rpc/{add}", {"a": "one"}, 400, "22P02"),
        ("GET", "/rpc/{add}?a=one", None, 400, "22P02"),
    ],
)
def test_what_postgres_refuses_has_its_sqlstate_and_postgrests_status(
    call, playground, method, path, body, status, code
):
    where = path.replace("{", "{0.").format(playground)
    headers = {"Prefer": "resolution=merge-duplicates"} if "on_conflict" in path else {}
    assert_error(call(method, where, secret=True, json=body, headers=headers), status, code)


def test_the_client_raises_message_details_and_hint(client_for, playground):
    arguments = {"p_state": "P0001", "p_message": "the message", "p_detail": "the detail", "p_hint": "the hint"}
    with pytest.raises(APIError) as refused:
        client_for().rpc(playground.__getattr__("raise"), arguments).execute()
    error = refused.value
    assert (error.code, error.message, error.details, error.hint) == (
        "P0001", "the message", "the detail", "the hint",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("P0001", 400), ("P0002", 500), ("PT403", 403), ("PT429", 429), ("PT503", 503), ("PTABC", 500),
        ("22023", 400), ("23503", 409), ("28000", 403), ("40001", 500), ("42501", 401), ("42P17", 500),
        ("53300", 503), ("53400", 500), ("57014", 500), ("XX000", 500), ("0L000", 403), ("0P000", 403),
        ("08006", 503), ("21000", 500), ("25006", 405), ("ZZ999", 400),
    ],
)  # fmt: skip
def test_a_raised_sqlstate_becomes_its_status(call, playground, state, status):
    body = {"p_state": state, "p_message": "said from SQL"}
    answer = call("POST", f"/rpc/raise_{playground.suffix}", json=body)
    assert_error(answer, status, state)
    assert answer.json()["message"] == "said from SQL"


def test_a_chosen_status_has_the_message_as_its_reason(call, playground):
    body = {"p_state": "PT402", "p_message": "Factor needed"}
    answer = call("POST", f"/rpc/raise_{playground.suffix}", json=body)
    assert answer.reason_phrase == "Factor needed"


def test_a_role_that_does_not_exist_is_401(call, playground):
    body = {"p_state": "22023", "p_message": 'role "ghost" does not exist'}
    assert_error(call("POST", f"/rpc/raise_{playground.suffix}", json=body), 401, "22023")


def test_an_unknown_table_is_pgrst205(call):
    answer = call("GET", "/no_such_table", secret=True)
    assert_error(answer, 404, "PGRST205")
    assert answer.json()["message"] == "Could not find the table 'public.no_such_table' in the schema cache"
    assert_error(call("POST", "/no_such_table", secret=True, json={"a": 1}), 404, "PGRST205")


@pytest.mark.parametrize("table", ["users", "auth.users", "pg_class", "pg_catalog.pg_class"])
def test_tables_of_other_schemas_are_out_of_reach(call, table):
    assert_error(call("GET", f"/{table}", secret=True), 404, "PGRST205")


@pytest.mark.parametrize("schema", ["auth", "pg_catalog", "mailbox", "x"])
def test_another_schema_is_pgrst106(call, playground, schema):
    assert_error(call("GET", f"/{playground.things}", headers={"Accept-Profile": schema}), 406, "PGRST106")
    assert_error(call("POST", f"/{playground.things}", json={}, headers={"Content-Profile": schema}), 406, "PGRST106")


def test_an_unknown_column_in_a_body_or_in_columns_is_pgrst204(call, playground):
    answer = call("POST", f"/{playground.stock}", secret=True, json={"sku": "x", "nope": 1})
    assert_error(answer, 400, "PGRST204")
    expected = f"Could not find the 'nope' column of '{playground.stock}' in the schema cache"
    assert answer.json()["message"] == expected
    assert_error(call("PATCH", f"/{playground.stock}", secret=True, json={"nope": 1}), 400, "PGRST204")
    by_name = call("POST", f"/{playground.stock}?columns=sku,nope", secret=True, json={"sku": "x"})
    assert_error(by_name, 400, "PGRST204")


@pytest.mark.parametrize(
    "query",
    [
        "n=1", "n=noop.1", "n=is.maybe", "n=in.1,2", "n=eq", "select=n,,name", "select=(", "order=n.upwards",
        "order=n.asc.nullsmiddle", "order=", 'select="n',
    ],
)  # fmt: skip
def test_a_parameter_that_cannot_be_read_is_pgrst100(call, playground, query):
    assert_error(call("GET", f"/{playground.things}?{query}", secret=True), 400, "PGRST100")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "/rpc/{}"), ("DELETE", "/rpc/{}"), ("PUT", "/rpc/{}"),
    ],
)  # fmt: skip
def test_a_function_is_called_by_post_or_get(call, playground, method, path):
    assert_error(call(method, path.format(playground.add), secret=True), 405, "PGRST101")


def test_a_path_of_more_than_a_name_is_404(call):
    assert_error(call("GET", "/a/b", secret=True), 404, "PGRST125")


@pytest.mark.parametrize("accept", ["image/png", "text/html", "application/vnd.x+json"])
def test_a_media_type_nobody_makes_is_pgrst107(call, playground, accept):
    answer = call("GET", f"/{playground.things}", secret=True, headers={"Accept": accept})
    assert_error(answer, 406, "PGRST107")


@pytest.mark.parametrize(
    "token",
    [
        "x", "x.y", "x.y.z", "..", "eyJhbGciOiJub25lIn0.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.",
        "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIiwiZXhwIjo5OTk5OTk5OTk5fQ.AAAA",
    ],
)  # fmt: skip
def test_a_token_that_is_none_of_ours_is_pgrst301(call, playground, token):
    for secret in (False, True):
        answer = call("POST", f"/rpc/{playground.context}", json={}, token=token, secret=secret)
        assert_error(answer, 401, "PGRST301")
        assert answer.headers["WWW-Authenticate"].startswith('Bearer error="invalid_token", error_description="')


def test_a_token_with_a_changed_payload_is_pgrst301(call, playground, token):
    header, payload, signature = token.split(".")
    swapped = payload[:-1] + ("A" if payload[-1] != "A" else "B")
    for forged in (f"{header}.{payload}.{signature[:-4]}AAAA", f"{header}.{swapped}.{signature}"):
        assert_error(call("GET", f"/{playground.things}", token=forged), 401, "PGRST301")
