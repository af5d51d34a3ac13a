"""Calling functions (contract C1, C2): results of every shape, arguments by name."""

import pytest
from postgrest.exceptions import APIError


@pytest.fixture
def rpc(client_for, playground):
    """Call a function of the playground as the secret key: `rpc("add", {"a": 1}).execute()`."""
    return lambda name, arguments=None, **more: client_for(secret=True).rpc(
        getattr(playground, name), arguments or {}, **more
    )


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("add", {"a": 1, "b": 2}, 3),
        ("add", {"a": 1}, 11),
        ("add", {"a": None}, None),
        ("echo", {"p_text": 'x"\\\n…'}, 'x"\\\n…'),
        ("echo", {"p_text": ""}, ""),
        ("echo", {"p_text": None}, None),
        ("fixed", {"p_char": "abc", "p_bits": "101"}, "abc/101"),
        ("echo_json", {"p_value": {"a": [1, None, "x"]}}, {"a": [1, None, "x"]}),
        ("echo_json", {"p_value": [1]}, [1]),
        ("echo_json", {"p_value": "text"}, "text"),
        ("echo_json", {"p_value": True}, True),
        ("names", {}, ["ant", "bee", "cow, brown"]),
        ("pairs", {}, [{"k": "a", "v": 1}, {"k": "b", "v": 2}]),
        ("nothing", {}, []),
    ],
)
def test_a_result_arrives_in_its_own_shape(rpc, name, arguments, result):
    assert rpc(name, arguments).execute().data == result


def test_one_row_is_an_object_even_if_there_is_none(rpc):
    assert rpc("thing", {"p_name": "ant"}).execute().data["n"] == 1
    assert rpc("thing", {"p_name": "nobody"}).execute().data["n"] is None


def test_a_set_of_rows_can_be_filtered_ordered_and_cut(rpc):
    rows = rpc("all_things").select("name, n").gt("n", 2).order("n", desc=True).limit(2).execute().data
    assert rows == [{"name": "", "n": 8}, {"name": "Ärger (oh)", "n": 7}]
    assert rpc("all_things").eq("name", "ant").single().execute().data["n"] == 1
    assert rpc("all_things").eq("name", "nobody").maybe_single().execute() is None


def test_a_set_of_rows_can_be_counted(rpc):
    assert rpc("all_things", count="exact").lt("n", 4).limit(1).execute().count == 3


def test_void_is_204(call, playground):
    answer = call("POST", f"/rpc/{playground.nothing}", secret=True, json={})
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_scalar_is_bare_json(call, playground):
    answer = call("POST", f"/rpc/{playground.add}", secret=True, json={"a": 1})
    assert (answer.status_code, answer.text) == (200, "11")
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"


def test_no_body_means_no_arguments(call, playground):
    assert call("POST", f"/rpc/{playground.names}", secret=True).json() == ["ant", "bee", "cow, brown"]


def test_a_function_can_be_called_by_get(rpc, call, playground):
    assert rpc("add", {"a": 1, "b": 2}, get=True).execute().data == 3
    assert rpc("echo", {"p_text": "a+b &c=%"}, get=True).execute().data == "a+b &c=%"
    filtered = call("GET", f"/rpc/{playground.all_things}?n=lt.3&select=n&order=n", secret=True)
    assert filtered.json() == [{"n": 1}, {"n": 2}]
    assert call("HEAD", f"/rpc/{playground.add}?a=1", secret=True).content == b""


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("unknown", {}, "Could not find the function public.{} without parameters in the schema cache"),
        ("add", {}, "Could not find the function public.{} without parameters in the schema cache"),
        ("add", {"b": 1}, "Could not find the function public.{}(b) in the schema cache"),
        ("add", {"a": 1, "c": 2}, "Could not find the function public.{}(a, c) in the schema cache"),
        ("add", {"A": 1}, "Could not find the function public.{}(A) in the schema cache"),
        ("trigger", {}, "Could not find the function public.{} without parameters in the schema cache"),
    ],
)
def test_a_function_is_found_by_its_name_and_the_names_of_its_arguments(rpc, playground, name, arguments, message):
    with pytest.raises(APIError) as refused:
        rpc(name, arguments).execute()
    assert refused.value.code == "PGRST202"
    assert refused.value.message == message.format(getattr(playground, name))
    assert refused.value.details.startswith("Searched for the function")


def test_an_ambiguous_call_is_refused(call, playground):
    answer = call("POST", f"/rpc/{playground.overloaded}", secret=True, json={"p": 1})
    assert (answer.status_code, answer.json()["code"]) == (300, "PGRST203")


def test_functions_of_other_schemas_are_out_of_reach(call):
    for name in ("pg_sleep", "version", "auth.uid", "uid", "set_config"):
        assert call("POST", f"/rpc/{name}", secret=True, json={}).json()["code"] == "PGRST202"
