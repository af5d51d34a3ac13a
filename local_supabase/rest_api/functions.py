"""Calling a function: `POST /rpc/<name>` with a JSON object, or GET with the arguments in the query string."""

from flask import Response

from local_supabase.api_keys import Caller
from local_supabase.rest_api import statements
from local_supabase.rest_api.answers import nothing, page
from local_supabase.rest_api.asked import Asked
from local_supabase.rest_api.catalogue import Cursor, find_function
from local_supabase.rest_api.errors import not_singular
from local_supabase.rest_api.transaction import impersonate, run


def call(cursor: Cursor, caller: Caller, asked: Asked) -> Response:
    """Call in a transaction that may write only by POST and if the function is VOLATILE."""
    given = asked.query.arguments if asked.reads else asked.query.columns
    function = find_function(cursor, asked.name, given or ())
    read_only = asked.reads or not function.volatile
    impersonate(cursor, caller, asked, read_only=read_only, settings=function.settings)
    row = run(cursor, statements.call(function, asked))
    if asked.single and function.returns_set and row["row_count"] != 1:
        raise not_singular(row["row_count"])
    return nothing() if function.returns == "void" else page(row, asked)
