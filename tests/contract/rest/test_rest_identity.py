"""As whom a request runs and what its SQL sees of it: role, claims, transaction (contract B7, C4)."""

from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest
from postgrest.exceptions import APIError


@pytest.fixture
def token(alice):
    return alice.sign_in().access_token


@pytest.fixture
def context(call, playground):
    """What SQL sees when a function is called so."""

    def seen(method="POST", name="context", **more):
        answer = call(method, f"/rpc/{getattr(playground, name)}", **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return seen


@pytest.mark.parametrize(("secret", "role"), [(False, "anon"), (True, "service_role")])
def test_a_key_alone_is_its_role_without_a_subject(context, server, secret, role):
    key = server.secret_key if secret else server.publishable_key
    for headers in ({}, {"Authorization": f"Bearer {key}"}):  # supabase-py sends it twice, a hook may strip one
        seen = context(secret=secret, headers=headers)
        assert (seen["role"], seen["claims"]["role"], seen["uid"]) == (role, role, None)
        assert "sub" not in seen["claims"]


@pytest.mark.parametrize("secret", [False, True])
def test_a_persons_token_wins_over_either_key(context, alice, token, secret):
    seen = context(token=token, secret=secret)
    assert (seen["role"], seen["uid"]) == ("authenticated", alice.id)
    assert seen["claims"] == jwt.decode(token, options={"verify_signature": False})


def test_a_scheme_other_than_bearer_is_nobody(context):
    assert context(headers={"Authorization": "Basic YTpi"})["role"] == "anon"


@pytest.mark.parametrize("key", ["sb_publishable_wrong", "sb_secret_wrong", "", "x.y.z", "\xff"])
def test_an_unknown_key_is_refused_whatever_comes_with_it(call, playground, token, key):
    for headers in (
        {"apikey": key.encode("latin-1")},
        {"apikey": key.encode("latin-1"), "Authorization": f"Bearer {token}"},
    ):
        answer = call("POST", f"/rpc/{playground.context}", headers=headers)
        assert answer.status_code == 401
        assert set(answer.json()) >= {"message"}


def test_the_secret_key_as_bearer_gives_nothing_that_apikey_does_not(context, server):
    seen = context(headers={"Authorization": f"Bearer {server.secret_key}"})
    assert seen["role"] == "anon"


def test_sql_sees_the_request(context):
    seen = context(headers={"X-Trace": "a,b", "Cookie": "theme=dark"})
    assert seen["method"] == "POST"
    assert seen["path"].startswith("/rpc/context_")
    assert seen["headers"]["x-trace"] == "a,b"
    assert "cookie" not in seen["headers"]
    assert seen["cookies"] == {"theme": "dark"}
    assert seen["login"] == "authenticator"
    assert seen["isolation"] == "read committed"
    assert seen["search_path"].replace('"', "").startswith("public")


@pytest.mark.parametrize(
    ("method", "name", "read_only"),
    [
        ("POST", "context", "on"),
        ("POST", "volatile_context", "off"),
        ("GET", "context", "on"),
        ("GET", "volatile_context", "on"),
    ],
)
def test_only_a_post_to_a_volatile_function_may_write(context, method, name, read_only):
    assert context(method, name)["read_only"] == read_only


def test_a_write_in_a_read_only_transaction_is_405(call, client_for, playground):
    for method, name in (("POST", "write_but_stable"), ("GET", "write")):
        options = {"json": {"p_sku": "x"}} if method == "POST" else {"params": {"p_sku": "x"}}
        answer = call(method, f"/rpc/{getattr(playground, name)}", secret=True, **options)
        assert (answer.status_code, answer.json()["code"]) == (405, "25006")
    assert client_for(secret=True).table(playground.stock).select().eq("sku", "x").execute().data == []


def test_a_function_cannot_give_itself_the_right_to_write(call, playground):
    answer = call("POST", f"/rpc/{playground.unset_read_only}", secret=True, json={})
    assert answer.json()["code"] == "25001"


def test_an_error_undoes_what_the_function_wrote(client_for, playground):
    service = client_for(secret=True)
    with pytest.raises(APIError) as refused:
        service.rpc(playground.write_then_fail, {"p_sku": "undone"}).execute()
    assert refused.value.code == "P0001"
    assert service.table(playground.stock).select("sku").eq("sku", "undone").execute().data == []


def test_a_role_has_its_own_statement_timeout(context, token, database):
    of_role = dict(
        database.execute(
            "select rolname, split_part(setting, '=', 2) from pg_roles, unnest(rolconfig) setting"
            " where rolname in ('anon', 'authenticated') and setting like 'statement_timeout=%'"
        ).fetchall()
    )
    assert context()["timeout"] == of_role["anon"]
    assert context(token=token)["timeout"] == of_role["authenticated"]


def test_a_function_has_its_own_statement_timeout(call, playground):
    answer = call("POST", f"/rpc/{playground.slow}", secret=True, json={})
    assert (answer.status_code, answer.json()["code"]) == (500, "57014")


def test_nothing_of_a_request_is_left_for_the_next_on_the_connection(context, token):
    for _ in range(5):
        assert context(token=token)["role"] == "authenticated"
        assert (context()["role"], context()["uid"]) == ("anon", None)


def test_everybody_sees_and_changes_their_own_rows_only(client_for, playground, alice, bob):
    alices, bobs = (client_for(person.sign_in().access_token) for person in (alice, bob))
    note = alices.table(playground.notes).insert({"title": "secret"}).execute().data[0]
    assert note["owner"] == alice.id
    assert [row["id"] for row in alices.table(playground.notes).select("id").execute().data] == [note["id"]]

    assert bobs.table(playground.notes).select("id").execute().data == []
    assert bobs.table(playground.notes).update({"title": "mine"}).eq("id", note["id"]).execute().data == []
    assert bobs.table(playground.notes).delete().eq("id", note["id"]).execute().data == []
    with pytest.raises(APIError) as refused:
        bobs.table(playground.notes).insert({"title": "x", "owner": alice.id}).execute()
    assert refused.value.code == "42501"
    with pytest.raises(APIError) as refused:
        bobs.table(playground.notes).upsert({"id": note["id"], "title": "x"}).execute()
    assert refused.value.code == "42501"

    assert alices.table(playground.notes).select("title").execute().data == [{"title": "secret"}]
    service = client_for(secret=True)
    assert service.table(playground.notes).select("title").eq("id", note["id"]).execute().data == [{"title": "secret"}]


def test_eight_threads_as_four_people_never_see_each_others_rows(client_for, playground, people):
    persons = [people.add() for _ in range(4)]
    tokens = {person.id: person.sign_in().access_token for person in persons}

    def one_request(number: int) -> tuple[str, str, set[str]]:
        person = persons[number % len(persons)]
        client = client_for(tokens[person.id])
        client.table(playground.notes).insert({"title": person.id}, returning="minimal").execute()
        titles = {row["title"] for row in client.table(playground.notes).select("title").execute().data}
        return person.id, client.rpc(playground.context).execute().data["uid"], titles

    with ThreadPoolExecutor(8) as threads:
        for person_id, uid, titles in threads.map(one_request, range(120)):
            assert (uid, titles) == (person_id, {person_id})
