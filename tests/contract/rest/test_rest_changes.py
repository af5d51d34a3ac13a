"""Inserting, updating, upserting and deleting rows (contract C1, C2)."""

import secrets

import pytest
from postgrest.exceptions import APIError


@pytest.fixture
def stock(client_for, playground):
    """A builder for the table of stock, as the secret key changes it; ask anew for every request."""
    return lambda: client_for(secret=True).table(playground.stock)


@pytest.fixture
def sku():
    """A name no other test uses, for one row or as the beginning of several."""
    return secrets.token_hex(4)


def test_an_inserted_row_comes_back_with_its_defaults(stock, sku):
    row = stock().insert({"sku": sku}).execute().data
    assert row == [{"sku": sku, "amount": 7, "note": "none", 'odd "col%s': None}]


def test_a_missing_key_is_null_in_a_list_unless_the_default_is_preferred(stock, sku):
    rows = [{"sku": f"{sku}1", "amount": 1}, {"sku": f"{sku}2", "note": "x"}]
    assert [r["amount"] for r in stock().insert(rows).execute().data] == [1, None]
    stock().delete().like("sku", f"{sku}%").execute()
    kept = stock().insert(rows, default_to_null=False).execute().data
    assert [(r["amount"], r["note"]) for r in kept] == [(1, "none"), (7, "x")]


def test_default_to_null_false_fills_a_single_row_too(call, playground, sku):
    answer = call(
        "POST",
        f"/{playground.stock}?columns=sku,amount",
        secret=True,
        json={"sku": sku},
        headers={"Prefer": "return=representation,missing=default"},
    )
    assert answer.json()[0]["amount"] == 7
    assert answer.headers["Preference-Applied"] == "missing=default, return=representation"


def test_an_insert_may_return_nothing_and_then_needs_no_right_to_read(call, client_for, playground):
    client_for().table(playground.drop_box).insert({"message": "hello"}, returning="minimal").execute()
    answer = call("POST", f"/{playground.drop_box}", json={"message": "x"}, headers={"Prefer": "return=minimal"})
    assert (answer.status_code, answer.content) == (201, b"")
    with pytest.raises(APIError) as refused:
        client_for().table(playground.drop_box).insert({"message": "hello"}).execute()
    assert refused.value.code == "42501"


def test_an_empty_object_is_a_row_of_defaults_and_an_empty_list_is_no_row(call, playground):
    prefer = {"Prefer": "return=representation"}
    row = call("POST", f"/{playground.notes}", secret=True, json={}, headers=prefer)
    assert (row.status_code, row.json()["code"]) == (400, "23502")  # a title has no default
    nothing = call("POST", f"/{playground.notes}", secret=True, json=[], headers=prefer)
    assert (nothing.status_code, nothing.json()) == (201, [])


def test_only_the_columns_named_are_read_from_the_body(call, playground, sku):
    path = f"/{playground.stock}?columns=sku"
    answer = call("POST", path, secret=True, json={"sku": sku, "amount": 99, "unknown": 1},
                  headers={"Prefer": "return=representation"})  # fmt: skip
    assert answer.status_code == 201
    assert answer.json()[0]["amount"] == 7


def test_an_upsert_merges_with_the_row_that_is_there(stock, sku):
    stock().insert({"sku": sku, "amount": 1, "note": "old"}).execute()
    assert stock().upsert({"sku": sku, "amount": 2}).execute().data[0]["note"] == "old"
    assert stock().select("amount").eq("sku", sku).execute().data == [{"amount": 2}]


def test_an_upsert_can_leave_the_row_that_is_there_alone(stock, sku):
    stock().insert({"sku": sku, "amount": 1}).execute()
    rows = [{"sku": sku, "amount": 2}, {"sku": f"{sku}2", "amount": 2}]
    inserted = stock().upsert(rows, ignore_duplicates=True).execute().data
    assert [row["sku"] for row in inserted] == [f"{sku}2"]
    assert stock().select("amount").eq("sku", sku).execute().data == [{"amount": 1}]


def test_an_upsert_can_go_by_another_unique_column(client_for, playground, alice):
    token = alice.sign_in().access_token

    def notes():
        return client_for(token).table(playground.notes)

    code = secrets.token_hex(4)
    first = notes().insert({"title": "a", "code": code}).execute().data[0]
    merged = notes().upsert({"title": "b", "code": code}, on_conflict="code").execute().data[0]
    assert (merged["id"], merged["title"]) == (first["id"], "b")


@pytest.mark.parametrize(
    ("there_already", "resolution", "status"),
    [
        (False, "merge-duplicates", 201),
        (True, "merge-duplicates", 200),
        (True, "ignore-duplicates", 201),
    ],
)
def test_an_upsert_that_merged_everything_is_200(call, playground, sku, there_already, resolution, status):
    path, prefer = f"/{playground.stock}", f"return=minimal,resolution={resolution}"
    if there_already:
        call("POST", path, secret=True, json={"sku": sku})
    answer = call("POST", path, secret=True, json={"sku": sku, "amount": 5}, headers={"Prefer": prefer})
    assert answer.status_code == status


def test_an_update_changes_the_rows_that_match_and_gives_them_back(stock, sku):
    stock().insert([{"sku": f"{sku}1"}, {"sku": f"{sku}2"}, {"sku": f"other{sku}"}]).execute()
    changed = stock().update({"amount": 0, "note": None}).like("sku", f"{sku}%").execute().data
    assert [(row["amount"], row["note"]) for row in changed] == [(0, None), (0, None)]
    assert stock().update({"amount": 0}).eq("sku", "nobody").execute().data == []


def test_an_update_with_nothing_to_set_changes_nothing(call, playground, sku):
    call("POST", f"/{playground.stock}", secret=True, json={"sku": sku})
    answer = call("PATCH", f"/{playground.stock}?sku=eq.{sku}", secret=True, json={},
                  headers={"Prefer": "return=representation"})  # fmt: skip
    assert (answer.status_code, answer.json()) == (200, [])


def test_a_delete_removes_the_rows_that_match_and_gives_them_back(stock, sku):
    stock().insert([{"sku": f"{sku}1"}, {"sku": f"{sku}2"}]).execute()
    assert [row["sku"] for row in stock().delete().eq("sku", f"{sku}1").execute().data] == [f"{sku}1"]
    assert stock().select("sku").like("sku", f"{sku}%").execute().data == [{"sku": f"{sku}2"}]


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_minimal_is_204_without_a_body(call, playground, sku, method):
    call("POST", f"/{playground.stock}", secret=True, json={"sku": sku})
    answer = call(method, f"/{playground.stock}?sku=eq.{sku}", secret=True, json={"amount": 1},
                  headers={"Prefer": "return=minimal"})  # fmt: skip
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["Preference-Applied"] == "return=minimal"


def test_the_columns_of_the_rows_given_back_can_be_chosen(stock, sku):
    assert stock().insert({"sku": sku}).select("sku").execute().data == [{"sku": sku}]
    assert stock().update({"amount": 4}).eq("sku", sku).select("amount").execute().data == [{"amount": 4}]


def test_a_change_that_should_concern_one_row_and_does_not_is_undone(call, playground, sku, stock):
    stock().insert([{"sku": f"{sku}1"}, {"sku": f"{sku}2"}]).execute()
    headers = {"Prefer": "return=representation", "Accept": "application/vnd.pgrst.object+json"}
    answer = call("DELETE", f"/{playground.stock}?sku=like.{sku}*", secret=True, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (406, "PGRST116")
    assert len(stock().select("sku").like("sku", f"{sku}%").execute().data) == 2


def test_one_bad_row_undoes_the_whole_list(stock, sku):
    with pytest.raises(APIError) as refused:
        stock().insert([{"sku": sku}, {"sku": sku}]).execute()
    assert refused.value.code == "23505"
    assert stock().select("sku").eq("sku", sku).execute().data == []


def test_a_constraint_that_is_checked_at_the_end_undoes_everything_too(call, playground):
    rows = [{"code": "twice"}, {"code": "twice"}]
    answer = call("POST", f"/{playground.late}", secret=True, json=rows, headers={"Prefer": "return=representation"})
    assert (answer.status_code, answer.json()["code"]) == (409, "23505")
    assert call("GET", f"/{playground.late}", secret=True).json() == []
