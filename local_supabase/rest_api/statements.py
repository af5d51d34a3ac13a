"""The SQL of a request: identifiers quoted, values as parameters, rows made into JSON by Postgres.

Every statement gives one row: `row_count`, `total` (null unless a count was asked) and `body` (JSON text,
null where no rows are wanted).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from local_supabase.rest_api.asked import Asked
from local_supabase.rest_api.catalogue import Function, Table
from local_supabase.rest_api.query import COMPARISONS, IS_VALUES, Filter, OrderTerm, Query


@dataclass(frozen=True)
class Statement:
    """`text` refers to `values` as `$1`, `$2`, …"""

    text: sql.SQL | sql.Composed
    values: list[Any]


def read(table: Table, asked: Asked) -> Statement:
    values = _Values()
    origin = sql.Identifier("public", table.name)
    source = _selection(origin, asked.query, values)
    return Statement(_page(source, _rows(asked), _total(origin, asked, values)), values.taken)


def call(function: Function, asked: Asked) -> Statement:
    """Call with the members of the body, or with the query's arguments if there is none."""
    values = _Values()
    if asked.body is None:
        sources = []
        arguments = [
            sql.SQL("{} := {}::{}").format(sql.Identifier(name), values.take(text), sql.SQL(function.arguments[name]))
            for name, text in asked.query.arguments.items()
        ]
    else:
        types = {name: function.arguments[name] for name in asked.query.columns or ()}
        sources = [_rows_of_body(asked, types, values)]
        arguments = [sql.SQL("{} := {}").format(sql.Identifier(name), sql.Identifier(_BODY, name)) for name in types]
    result = sql.SQL("{}({})").format(sql.Identifier("public", function.name), _comma(arguments))
    if function.returns == "composite":
        sources.append(sql.SQL("lateral {} as stepup_result").format(result))
        body = _ONE_ROW if asked.single or not function.returns_set else _ALL_ROWS
    else:
        sources.append(sql.SQL("lateral (select {} as scalar) as stepup_result").format(result))
        body = _ONE_SCALAR if asked.single or not function.returns_set else _ALL_SCALARS
    called = sql.Identifier("stepup_called")
    text = _page(_selection(called, asked.query, values), body, _total(called, asked, values))
    return Statement(
        sql.SQL("with stepup_called as (select stepup_result.* from {}) {}").format(_comma(sources), text), values.taken
    )


def insert(table: Table, asked: Asked) -> Statement:
    values = _Values()
    types = _types(table, asked)
    target = sql.Identifier("public", table.name)
    text = sql.SQL("insert into {}{} select {} from {}{}").format(
        target,
        sql.SQL(" ({})").format(_names(types)) if types else sql.SQL(""),
        _comma(sql.Identifier(_BODY, name) for name in types),
        _rows_of_body(asked, types, values, _defaults(table, asked)),
        _on_conflict(table, asked),
    )
    return Statement(_changing(text, target, asked), values.taken)


def update(table: Table, asked: Asked) -> Statement:
    values = _Values()
    types = _types(table, asked)
    target = sql.Identifier("public", table.name)
    if not types:  # nothing to set: no row is changed, none is shown
        return Statement(_page(sql.SQL("select from {} where false").format(target), _rows(asked)), [])
    text = sql.SQL("update {} set {} from {}{}").format(
        target,
        _comma(sql.SQL("{} = {}").format(sql.Identifier(n), sql.Identifier(_BODY, n)) for n in types),
        _rows_of_body(asked, types, values, _defaults(table, asked)),
        _where(target, asked.query, values),
    )
    return Statement(_changing(text, target, asked), values.taken)


def delete(table: Table, asked: Asked) -> Statement:
    values = _Values()
    target = sql.Identifier("public", table.name)
    text = sql.SQL("delete from {}{}").format(target, _where(target, asked.query, values))
    return Statement(_changing(text, target, asked), values.taken)


def updated_rows() -> Statement:
    """How many rows the upsert just made in this transaction found there already: `row_count`."""
    text = "select coalesce(nullif(current_setting($1, true), ''), '0')::int as row_count"
    return Statement(sql.SQL(text), [_UPDATED_ROWS])


# Names of our own in a statement start with `stepup_`: a table may well be called "body".
_BODY = "stepup_body"

# Counted in a setting that lives as long as the transaction: nothing has to be read from the table for it.
_UPDATED_ROWS = "stepup.updated_rows"

_ALL_ROWS = sql.SQL("coalesce(json_agg(stepup_row), '[]')")
_ONE_ROW = sql.SQL("coalesce(json_agg(stepup_row)->0, 'null')")
_ALL_SCALARS = sql.SQL("coalesce(json_agg(stepup_row.scalar), '[]')")
_ONE_SCALAR = sql.SQL("coalesce(json_agg(stepup_row.scalar)->0, 'null')")


class _Values:
    """The parameters of one statement, in order."""

    def __init__(self) -> None:
        self.taken: list[Any] = []

    def take(self, value: Any) -> sql.SQL:
        """Add a value and return what stands for it in the text."""
        self.taken.append(value)
        return sql.SQL(f"${len(self.taken)}")


def _rows(asked: Asked) -> sql.SQL:
    return _ONE_ROW if asked.single else _ALL_ROWS


def _page(source: sql.Composable, body: sql.SQL, total: sql.Composable | None = None) -> sql.Composed:
    return sql.SQL(
        "select count(*) as row_count, {}::bigint as total, ({})::text as body from ({}) as stepup_row"
    ).format(total or sql.SQL("null"), body, source)


def _total(origin: sql.Identifier, asked: Asked, values: _Values) -> sql.Composable | None:
    if not asked.preferences.count:
        return None
    return sql.SQL("(select count(*) from {}{})").format(origin, _where(origin, asked.query, values))


def _changing(text: sql.Composed, target: sql.Identifier, asked: Asked) -> sql.Composed:
    if asked.preferences.representation != "representation":
        # No rows to show, so nothing is read and the right to read is not asked for.
        return sql.SQL(
            "with stepup_changed as ({} returning 1)"
            " select count(*) as row_count, null::bigint as total, null as body from stepup_changed"
        ).format(text)
    return sql.SQL("with stepup_changed as ({} returning {}) {}").format(
        text, _columns(target, asked.query), _page(sql.SQL("select * from stepup_changed"), _rows(asked))
    )


def _selection(origin: sql.Identifier, query: Query, values: _Values) -> sql.Composed:
    text = sql.SQL("select {} from {}{}").format(_columns(origin, query), origin, _where(origin, query, values))
    if query.order:
        text += sql.SQL(" order by ") + _comma(_order_term(origin, term) for term in query.order)
    if query.limit is not None:
        text += sql.SQL(" limit {}").format(values.take(query.limit))
    if query.offset:
        text += sql.SQL(" offset {}").format(values.take(query.offset))
    return text


def _columns(origin: sql.Identifier, query: Query) -> sql.Composed:
    return _comma(sql.SQL("{}.*").format(origin) if name == "*" else _column(origin, name) for name in query.select)


def _column(origin: sql.Identifier, name: str) -> sql.Composed:
    return sql.SQL("{}.{}").format(origin, sql.Identifier(name))


def _order_term(origin: sql.Identifier, term: OrderTerm) -> sql.Composed:
    words = f" {term.direction}" if term.direction else ""
    words += f" nulls {term.nulls}" if term.nulls else ""
    return _column(origin, term.column) + sql.SQL(words)


def _where(origin: sql.Identifier, query: Query, values: _Values) -> sql.Composable:
    if not query.filters:
        return sql.SQL("")
    conditions = (_condition(origin, filter_, values) for filter_ in query.filters)
    return sql.SQL(" where ") + sql.SQL(" and ").join(conditions)


def _condition(origin: sql.Identifier, filter_: Filter, values: _Values) -> sql.Composed:
    column = _column(origin, filter_.column)
    if isinstance(filter_.value, tuple):
        condition = sql.SQL("{} = any ({})").format(column, values.take(_array_literal(filter_.value)))
    elif filter_.operator == "is":
        # `is` takes no parameter, so its word is looked up and never passed on.
        condition = sql.SQL("{} is {}").format(column, sql.SQL(IS_VALUES[filter_.value]))
    else:
        pattern = filter_.operator in ("like", "ilike")
        text = filter_.value.replace("*", "%") if pattern else filter_.value
        operator = sql.SQL(COMPARISONS[filter_.operator])
        condition = sql.SQL("{} {} {}").format(column, operator, values.take(text))
    return sql.SQL("not ({})").format(condition) if filter_.negated else condition


def _array_literal(items: tuple[str, ...]) -> str:
    """Untyped, so that Postgres reads the items as the column's type."""
    escaped = (item.replace("\\", "\\\\").replace('"', '\\"') for item in items)
    return "{" + ",".join(f'"{item}"' for item in escaped) + "}"


def _types(table: Table, asked: Asked) -> dict[str, str]:
    return {name: table.column(name).type for name in asked.query.columns or ()}


def _defaults(table: Table, asked: Asked) -> dict[str, str]:
    if not asked.preferences.missing_default:
        return {}
    every = {name: table.column(name).default for name in asked.query.columns or ()}
    return {name: default for name, default in every.items() if default is not None}


def _rows_of_body(
    asked: Asked, types: Mapping[str, str], values: _Values, defaults: Mapping[str, str] | None = None
) -> sql.Composed:
    """The JSON body as rows called _BODY, each member read by Postgres as its column's type.

    `types` and `defaults` (SQL expressions for missing members, which are null otherwise) are by column.
    """
    given, json = sql.SQL("{}::json").format(values.take(asked.body)), "json"
    if defaults:
        given, json = _with_defaults(given, defaults, asked.body_is_list, values), "jsonb"
    if not types:  # an object without members is still a row: of nothing but defaults
        source = "json_array_elements({}) as stepup_given" if asked.body_is_list else "(values ({})) as stepup_given"
        return sql.SQL("(select from {}) as stepup_body").format(sql.SQL(source).format(given))
    reader = sql.SQL(f"{json}_to_recordset" if asked.body_is_list else f"{json}_to_record")
    columns = _comma(sql.SQL("{} {}").format(sql.Identifier(n), sql.SQL(t)) for n, t in types.items())
    return sql.SQL("(select * from {}({}) as stepup_given ({})) as stepup_body").format(reader, given, columns)


def _with_defaults(given: sql.Composed, defaults: Mapping[str, str], is_list: bool, values: _Values) -> sql.Composed:
    pairs = _comma(
        sql.SQL("{}::text, {}").format(values.take(name), sql.SQL(default)) for name, default in defaults.items()
    )
    if not is_list:
        return sql.SQL("jsonb_build_object({}) || {}::jsonb").format(pairs, given)
    return sql.SQL(
        "(select jsonb_agg(jsonb_build_object({}) || item) from jsonb_array_elements({}::jsonb) as item)"
    ).format(pairs, given)


def _on_conflict(table: Table, asked: Asked) -> sql.Composable:
    unique, resolution = asked.query.on_conflict or table.primary_key, asked.preferences.resolution
    if resolution is None or not unique:
        return sql.SQL("")
    columns = asked.query.columns
    if resolution == "ignore-duplicates" or not columns:
        return sql.SQL(" on conflict ({}) do nothing").format(_names(unique))
    # The `where` is always true. It is evaluated once for every row that is updated, and counts them.
    return sql.SQL(
        " on conflict ({}) do update set {} where set_config({setting},"
        " (coalesce(nullif(current_setting({setting}, true), ''), '0')::int + 1)::text, true) <> ''"
    ).format(
        _names(unique),
        _comma(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in columns),
        setting=sql.Literal(_UPDATED_ROWS),
    )


def _names(names: Iterable[str]) -> sql.Composed:
    return _comma(sql.Identifier(name) for name in names)


def _comma(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
