"""What someone with the publishable key, a shell and bad intentions sends to the data API."""

import json
from urllib.parse import quote

import pytest

# Quotes of every kind, comments, parameter marks and format marks: whatever could end an identifier or a literal.
PAYLOADS = [
    "x'; drop table users; --",
    'x"; drop table users; --',
    '") returning (select 1) --',
    "x') or 1=1 --",
    "$1",
    "%s %(v)s %b {} {0}",
    "x\\",
    "x\\'; --",
    "a b\n\tc",
    "ü'\"`",
    "pg_sleep(5)",
    "a" * 5000,
]


def is_refused(answer) -> bool:
    """An answer in the API's own words: not a crash, and not a success."""
    return 400 <= answer.status_code < 500 and set(answer.json()) == {"code", "message", "details", "hint"}


def is_no_syntax_error(answer) -> bool:
    """42601 would mean that what was sent became part of the statement."""
    return answer.json()["code"] != "42601"


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_name_stays_a_name(call, playground, payload):
    quoted = json.dumps(payload, ensure_ascii=False)
    things, stock = f"/{playground.things}", f"/{playground.stock}"
    answers = [
        call("GET", f"{things}", secret=True, params={quoted: "eq.1"}),
        call("GET", f"{things}", secret=True, params={"select": f"name,{quoted}"}),
        call("GET", f"{things}", secret=True, params={"order": quoted}),
        call("POST", stock, secret=True, params={"columns": f"sku,{quoted}"}, json={"sku": "x"}),
        call("POST", stock, secret=True, json={"sku": "x", payload: 1}),
        call("POST", stock, secret=True, json=[{"sku": "x", payload: 1}]),
        call("PATCH", stock, secret=True, json={payload: 1}),
        call("DELETE", stock, secret=True, params={quoted: "eq.1"}),
        call("POST", stock, secret=True, params={"on_conflict": quoted}, json={"sku": "x"},
             headers={"Prefer": "resolution=merge-duplicates"}),
        call("POST", f"/rpc/{playground.add}", secret=True, json={"a": 1, payload: 1}),
        call("GET", f"/rpc/{playground.add}", secret=True, params={"a": "1", payload: "1"}),
    ]  # fmt: skip
    for number, answer in enumerate(answers):
        assert is_refused(answer), (number, answer.text)
        assert is_no_syntax_error(answer), (number, answer.text)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_the_name_of_a_table_or_function_stays_a_name(call, payload):
    for path in (f"/{quote(payload, safe='')}", f"/rpc/{quote(payload, safe='')}"):
        for method in ("GET", "POST"):
            answer = call(method, path, secret=True, json={} if method == "POST" else None)
            assert answer.status_code == 404, answer.text


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_value_stays_a_value(client_for, playground, payload):
    service = client_for(secret=True)

    def stock():
        return service.table(playground.stock)

    assert service.rpc(playground.echo, {"p_text": payload}).execute().data == payload
    assert service.rpc(playground.echo, {"p_text": payload}, get=True).execute().data == payload
    assert stock().insert({"sku": payload, "note": payload}).execute().data[0]["sku"] == payload
    assert stock().select("note").eq("sku", payload).execute().data == [{"note": payload}]
    assert stock().select("note").in_("sku", [payload, "other"]).execute().data == [{"note": payload}]
    assert len(stock().update({"note": payload + "!"}).eq("sku", payload).execute().data) == 1
    assert len(stock().delete().eq("sku", payload).execute().data) == 1


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize(
    "query",
    ["n=eq.{}", "n=in.({})", "n=is.{}", "n={}.1", "limit={}", "offset={}", "order=n.{}", "select={}(n)", "or=({})"],
)
def test_a_filter_that_makes_no_sense_is_refused(call, playground, query, payload):
    name, _, value = query.partition("=")
    answer = call("GET", f"/{playground.things}", secret=True, params={name: value.replace("{}", payload)})
    assert is_refused(answer) and is_no_syntax_error(answer), answer.text


@pytest.mark.parametrize(
    "header", ["Prefer", "Accept", "Accept-Profile", "Range", "X-Forwarded-For", "User-Agent", "Cookie"]
)
def test_a_header_stays_a_header(call, playground, header):
    for payload in ("x'; drop table users; --", '"', "a=b; c='", "$1 %s", "\xff\xfe"):
        answer = call("GET", f"/{playground.things}", secret=True, headers={header: payload.encode("latin-1")})
        assert answer.status_code in (200, 206) or is_refused(answer), (payload, answer.text)


def test_a_message_from_sql_cannot_write_headers(call, playground):
    body = {"p_state": "PT403", "p_message": "no\r\nSet-Cookie: session=stolen\r\n\r\nü\x01" + "x" * 9000}
    answer = call("POST", f"/rpc/raise_{playground.suffix}", json=body)
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers
    assert answer.json()["message"] == body["p_message"]


@pytest.mark.parametrize("state", ["PT000", "PT001", "PT100", "PT199"])
def test_a_status_that_ends_no_request_is_500(call, playground, state):
    answer = call("POST", f"/rpc/raise_{playground.suffix}", json={"p_state": state, "p_message": "x"})
    assert answer.status_code == 500


NUL = "a\0b"


def test_nul_is_refused_wherever_text_is_meant(call, playground):
    """Postgres text cannot hold it, and a C string would end there."""
    things = f"/{playground.things}"
    answers = [
        call("GET", "/thi%00ngs", secret=True),
        call("POST", "/rpc/ad%00d", secret=True, json={}),
        call("GET", things, secret=True, params={"name": f"eq.{NUL}"}),
        call("GET", things, secret=True, params={"name": f"in.({NUL})"}),
        call("GET", things, secret=True, params={f'"{NUL}"': "eq.1"}),
        call("GET", things, secret=True, params={"select": f'"{NUL}"'}),
        call("GET", things, secret=True, params={"order": f'"{NUL}"'}),
        call("POST", f"/{playground.stock}", secret=True, json={"sku": NUL}),
        call("POST", f"/{playground.stock}", secret=True, json={NUL: 1}),
        call("POST", f"/{playground.stock}", secret=True, params={"columns": f'"{NUL}"'}, json={"sku": "x"}),
        call("POST", f"/rpc/{playground.echo}", secret=True, json={"p_text": NUL}),
        call("POST", f"/rpc/{playground.echo}", secret=True, json={NUL: "x"}),
        call("POST", f"/rpc/{playground.echo_json}", secret=True, json={"p_value": {"a": NUL}}),
        call("GET", f"/rpc/{playground.echo}", secret=True, params={"p_text": NUL}),
    ]
    for number, answer in enumerate(answers):
        assert 400 <= answer.status_code < 500, (number, answer.text)


BODIES = {
    "empty": b"",
    "blank": b"  \n",
    "no JSON": b"{title: 1}",
    "cut off": b'{"sku": "x"',
    "two values": b'{"sku": "x"}{}',
    "NaN": b'{"sku": "x", "amount": NaN}',
    "not UTF-8": b'{"sku": "\xff\xfe"}',
    "raw NUL": b'{"sku": "a\x00b"}',
    "lone surrogate": b'{"sku": "\\ud800"}',
    "lone surrogate in a key": b'{"sku": "x", "\\ud800": 1}',
    "deep": b"[" * 100_000,
    "deep in a value": b'{"sku": "x", "note": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
    "endless number": b'{"sku": "x", "amount": ' + b"9" * 100_000 + b"}",
    "a scalar": b"5",
    "null": b"null",
    "list of scalars": b"[1, 2]",
    "mixed list": b'[{"sku": "x"}, 1]',
    "different keys": b'[{"sku": "x"}, {"sku": "y", "amount": 1}]',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("place", ["POST /{stock}", "PATCH /{stock}?sku=eq.kept", "POST /rpc/{write}"])
def test_a_body_that_is_no_object_is_refused_and_changes_nothing(call, playground, client_for, place, body):
    stock = client_for(secret=True).table(playground.stock)
    stock.upsert({"sku": "kept", "note": "as it was"}).execute()
    method, _, path = place.partition(" ")
    where = path.replace("{", "{0.").format(playground)
    answer = call(method, where, secret=True, content=body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500, answer.text
    assert stock.select("note").in_("sku", ["x", "kept"]).execute().data == [{"note": "as it was"}]


@pytest.mark.parametrize("body", [BODIES["not UTF-8"], BODIES["deep"], BODIES["no JSON"], BODIES["empty"]])
def test_a_body_is_not_trusted_because_its_columns_are_named(call, playground, body):
    headers = {"Content-Type": "application/json", "Prefer": "missing=default"}
    for prefer in ("missing=default", "return=minimal"):
        answer = call("POST", f"/{playground.stock}?columns=sku,amount", secret=True, content=body,
                      headers=headers | {"Prefer": prefer})  # fmt: skip
        assert 400 <= answer.status_code <= 500 and "code" in answer.json(), answer.text


@pytest.mark.parametrize("kind", ["text/csv", "application/x-www-form-urlencoded", "text/plain", "multipart/form-data"])
def test_a_body_of_another_kind_is_not_taken_for_json(call, playground, kind):
    answer = call("POST", f"/{playground.things}", content=b'{"name": "x"}', headers={"Content-Type": kind})
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize("query", ["%ff=eq.1", "n=eq.%ff", "select=%c3%28", "n=eq.1&%00", "\xff"])
def test_a_query_that_is_not_utf8_is_refused(call, playground, query):
    answer = call("GET", f"/{playground.things}?{query}", secret=True)
    assert 400 <= answer.status_code < 500, answer.text


def test_a_long_list_of_values_works(client_for, playground):
    names = [f"name {number}" for number in range(500)] + ["ant"]
    rows = client_for(secret=True).table(playground.things).select("name").in_("name", names).execute().data
    assert rows == [{"name": "ant"}]


def test_half_a_megabyte_of_text_arrives_whole(client_for, playground):
    text = "ä" * 250_000
    assert client_for(secret=True).rpc(playground.echo, {"p_text": text}).execute().data == text


@pytest.mark.parametrize("claim", ["postgres", "supabase_admin", "authenticator", "service_role"])
def test_a_role_cannot_be_chosen_by_header_or_body(call, playground, claim):
    headers = {"Role": claim, "X-Role": claim, "request.jwt.claims": json.dumps({"role": claim})}
    answer = call("POST", f"/rpc/{playground.context}", json={}, headers=headers)
    assert answer.json()["role"] == "anon"
