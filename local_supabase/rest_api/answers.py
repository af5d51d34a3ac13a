"""What goes back when nothing went wrong: body, status, `Content-Range`."""

from flask import Response
from psycopg.rows import DictRow

from local_supabase.rest_api.asked import JSON, ONE_OBJECT, Asked
from local_supabase.rest_api.errors import range_not_satisfiable


def page(row: DictRow, asked: Asked) -> Response:
    """Rows that were read, or a function's result: 206 if a count was asked and these are not all.

    Raises:
        RestError: PGRST103 if a count was asked and the offset lies beyond it.
    """
    rows, total, offset = row["row_count"], row["total"], asked.query.offset
    if total is not None and offset > total:
        raise range_not_satisfiable(f"An offset of {offset} was requested, but there are only {total} rows.")
    headers = {"Content-Range": _content_range(offset, offset + rows - 1, total)}
    if asked.preferences.count:
        headers["Preference-Applied"] = "count=exact"
    return _json(row["body"], 206 if total is not None and rows < total else 200, headers, asked)


def changed(row: DictRow, asked: Asked, *, created: bool) -> Response:
    """Rows that were inserted, updated or deleted, shown if the request preferred so."""
    total = row["row_count"] if asked.preferences.count else None
    last = row["row_count"] - 1 if asked.method == "PATCH" else -1
    headers = {"Content-Range": _content_range(0, last, total)}
    if asked.preferences.applied:
        headers["Preference-Applied"] = ", ".join(asked.preferences.applied)
    if asked.preferences.representation == "representation":
        return _json(row["body"], 201 if created else 200, headers, asked)
    status = 201 if created else 200 if asked.method == "POST" else 204
    return Response(status=status, headers=headers)


def nothing() -> Response:
    """The answer of a function that returns void."""
    return Response(status=204, headers={"Content-Range": "0-0/*"})


def _content_range(first: int, last: int, total: int | None) -> str:
    rows = f"{first}-{last}" if first <= last and total != 0 else "*"
    return f"{rows}/{'*' if total is None else total}"


def _json(body: str, status: int, headers: dict[str, str], asked: Asked) -> Response:
    content_type = f"{ONE_OBJECT if asked.single else JSON}; charset=utf-8"
    return Response(body, status=status, headers=headers, content_type=content_type)
