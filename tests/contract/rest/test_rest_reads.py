"""Reading tables: what the client's builders ask, and what must come back (contract C1, C2)."""

import datetime

import pytest
from postgrest.exceptions import APIError

EVERY_NAME = {"ant", "bee", "cow, brown", 'dog "rex"', "eel\\slash", "50%", "Ärger (oh)", ""}


@pytest.fixture
def things(client_for, playground):
    """The table of things, as the secret key reads it."""
    return client_for(secret=True).table(playground.things)


def test_a_select_without_columns_gives_every_column(things):
    row = things.select().eq("name", "ant").execute().data[0]
    assert row == {
        "name": "ant", "n": 1, "price": 1.5, "ok": True, "at": "2026-01-02T03:04:05+00:00", "data": {"a": 1},
    }  # fmt: skip


def test_columns_can_be_chosen_and_keep_their_order(things):
    assert things.select("n, name").eq("n", 1).execute().data == [{"n": 1, "name": "ant"}]


def test_big_numbers_arrive_unharmed(things):
    assert things.select("price").eq("n", 2).execute().data == [{"price": 9007199254740993}]


@pytest.mark.parametrize(
    ("filtered", "names"),
    [
        (lambda q: q.eq("n", 2), {"bee"}),
        (lambda q: q.neq("n", 2).lt("n", 4), {"ant", "cow, brown"}),
        (lambda q: q.gt("n", 6), {"Ärger (oh)", ""}),
        (lambda q: q.gte("n", 7), {"Ärger (oh)", ""}),
        (lambda q: q.lt("n", 2), {"ant"}),
        (lambda q: q.lte("n", 2), {"ant", "bee"}),
        (lambda q: q.eq("ok", True), {"ant", 'dog "rex"'}),
        (lambda q: q.eq("name", ""), {""}),
        (lambda q: q.eq("name", "cow, brown"), {"cow, brown"}),
        (lambda q: q.eq("name", "Ärger (oh)"), {"Ärger (oh)"}),
        (lambda q: q.eq("data", {"a": 1}), {"ant"}),
        (lambda q: q.eq("at", datetime.datetime(2026, 2, 2, 3, 4, 5, tzinfo=datetime.UTC)), {"bee"}),
        (lambda q: q.gte("at", "2026-02-01"), {"bee"}),
        (lambda q: q.like("name", "%e"), {"bee"}),
        (lambda q: q.like("name", "b*"), {"bee"}),
        (lambda q: q.like("name", "B%"), set()),
        (lambda q: q.ilike("name", "B%"), {"bee"}),
        (lambda q: q.like("name", "50\\%"), {"50%"}),
        (lambda q: q.is_("n", None), {'dog "rex"'}),
        (lambda q: q.is_("n", "null"), {'dog "rex"'}),
        (lambda q: q.is_("ok", True), {"ant", 'dog "rex"'}),
        (lambda q: q.is_("ok", False), {"bee", "eel\\slash"}),
        (lambda q: q.not_.is_("n", None), EVERY_NAME - {'dog "rex"'}),
        (lambda q: q.not_.eq("n", 1).lt("n", 3), {"bee"}),
        (lambda q: q.not_.like("name", "%e%").lt("n", 4), {"ant", "cow, brown"}),
        (lambda q: q.in_("n", [1, 5, 99]), {"ant", "eel\\slash"}),
        (lambda q: q.in_("name", ["cow, brown", 'dog "rex"', "eel\\slash"]),
         {"cow, brown", 'dog "rex"', "eel\\slash"}),
        (lambda q: q.in_("name", ["Ärger (oh)", "50%"]), {"Ärger (oh)", "50%"}),
        (lambda q: q.in_("n", []), set()),
        (lambda q: q.not_.in_("n", [1, 2, 3, 5, 6]), {"Ärger (oh)", ""}),
        (lambda q: q.gt("n", 1).lt("n", 5), {"bee", "cow, brown"}),
    ],
)  # fmt: skip
def test_a_filter_finds_its_rows_and_no_others(things, filtered, names):
    assert {row["name"] for row in filtered(things.select("name")).execute().data} == names


@pytest.mark.parametrize(
    ("ordered", "first_and_last"),
    [
        (lambda q: q.order("n"), (1, None)),
        (lambda q: q.order("n", desc=True), (None, 1)),
        (lambda q: q.order("n", nullsfirst=True), (None, 8)),
        (lambda q: q.order("n", desc=True, nullsfirst=False), (8, None)),
        (lambda q: q.order("ok", nullsfirst=True).order("n", desc=True), (8, 1)),
    ],
)
def test_rows_come_in_the_order_that_was_asked(things, ordered, first_and_last):
    rows = ordered(things.select("n")).execute().data
    assert (rows[0]["n"], rows[-1]["n"]) == first_and_last


def test_limit_and_offset_give_a_page(things):
    assert things.select("n").order("n").limit(2).offset(1).execute().data == [{"n": 2}, {"n": 3}]
    assert things.select("n").order("n").range(2, 3).execute().data == [{"n": 3}, {"n": 5}]
    assert things.select("n").limit(0).execute().data == []


def test_an_exact_count_comes_with_the_rows_or_alone(things):
    assert things.select("n", count="exact").order("n").limit(3).execute().count == len(EVERY_NAME)
    alone = things.select("*", count="exact", head=True).lt("n", 4).execute()
    assert alone.count == 3
    assert things.select("n").execute().count is None


def test_single_gives_the_object(things):
    assert things.select("n").eq("name", "ant").single().execute().data == {"n": 1}


@pytest.mark.parametrize("rows", [0, 2])
def test_single_refuses_anything_but_one_row(things, rows):
    with pytest.raises(APIError) as refused:
        things.select("n").in_("n", [1, 2][:rows]).single().execute()
    assert refused.value.code == "PGRST116"
    assert refused.value.details == f"The result contains {rows} rows"


def test_maybe_single_gives_the_object_or_nothing(things):
    assert things.select("n").eq("name", "ant").maybe_single().execute().data == {"n": 1}
    assert things.select("n").eq("name", "nobody").maybe_single().execute() is None
    with pytest.raises(APIError):
        things.select("n").lt("n", 3).maybe_single().execute()


def test_a_quoted_name_reaches_a_column_with_any_name(client_for, playground):
    stock = client_for(secret=True).table(playground.stock)
    stock.insert({"sku": "odd", 'odd "col%s': "found"}).execute()
    rows = stock.select('"odd \\"col%s"').eq('odd "col%s', "found").order('"odd \\"col%s"').execute().data
    assert rows == [{'odd "col%s': "found"}]
    stock.delete().eq("sku", "odd").execute()


@pytest.mark.parametrize(
    ("query", "prefer", "status", "content_range"),
    [
        ("order=n&limit=3", None, 200, "0-2/*"),
        ("order=n&limit=3", "count=exact", 206, "0-2/8"),
        ("order=n&limit=3&offset=7", "count=exact", 206, "7-7/8"),
        ("", "count=exact", 200, "0-7/8"),
        ("n=eq.99", None, 200, "*/*"),
        ("n=eq.99", "count=exact", 200, "*/0"),
        ("offset=8", "count=exact", 206, "*/8"),
        ("offset=9", None, 200, "*/*"),
        ("offset=9", "count=exact", 416, None),
        ("limit=-1", None, 416, None),
    ],
)
def test_status_and_content_range_tell_which_part_of_the_rows_this_is(
    call, playground, query, prefer, status, content_range
):
    answer = call("GET", f"/{playground.things}?{query}", secret=True, headers={"Prefer": prefer} if prefer else None)
    assert answer.status_code == status
    if content_range:
        assert answer.headers["Content-Range"] == content_range
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    else:
        assert answer.json()["code"] == "PGRST103"


def test_head_has_the_headers_of_get_and_no_body(call, playground):
    answer = call("HEAD", f"/{playground.things}?n=lt.4", secret=True, headers={"Prefer": "count=exact"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Range"].endswith("/3")


def test_one_object_has_its_own_media_type(call, playground):
    headers = {"Accept": "application/vnd.pgrst.object+json"}
    answer = call("GET", f"/{playground.things}?select=n&n=eq.1", secret=True, headers=headers)
    assert answer.json() == {"n": 1}
    assert answer.headers["Content-Type"] == "application/vnd.pgrst.object+json; charset=utf-8"
