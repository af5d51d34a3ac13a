"""Reading and changing the rows of a table or view."""

from flask import Response
from psycopg.rows import DictRow

from local_supabase.api_keys import Caller
from local_supabase.rest_api import statements
from local_supabase.rest_api.answers import changed, page
from local_supabase.rest_api.asked import Asked
from local_supabase.rest_api.catalogue import Cursor, find_table
from local_supabase.rest_api.errors import not_singular
from local_supabase.rest_api.transaction import impersonate, run


def read(cursor: Cursor, caller: Caller, asked: Asked) -> Response:
    """GET and HEAD."""
    table = find_table(cursor, asked.name)
    impersonate(cursor, caller, asked, read_only=True)
    row = run(cursor, statements.read(table, asked))
    if asked.single and row["row_count"] != 1:
        raise not_singular(row["row_count"])
    return page(row, asked)


def change(cursor: Cursor, caller: Caller, asked: Asked) -> Response:
    """POST, PATCH and DELETE."""
    table = find_table(cursor, asked.name)
    if asked.method == "POST":
        statement = statements.insert(table, asked)
    elif asked.method == "PATCH":
        statement = statements.update(table, asked)
    else:
        statement = statements.delete(table, asked)
    impersonate(cursor, caller, asked, read_only=False)
    row = run(cursor, statement)
    if asked.single and row["row_count"] != 1:
        raise not_singular(row["row_count"])  # and the change is rolled back
    return changed(row, asked, created=asked.method == "POST" and _inserted_any(cursor, row, asked))


def _inserted_any(cursor: Cursor, row: DictRow, asked: Asked) -> bool:
    """Whether POST answers 201: always, but for an upsert that met only rows that were there already."""
    if asked.preferences.resolution != "merge-duplicates":
        return True
    updated = run(cursor, statements.updated_rows())
    return bool(row["row_count"] > updated["row_count"])
