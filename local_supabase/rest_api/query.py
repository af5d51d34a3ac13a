"""What a request asks for, read from its query string and `Prefer` header: pure, no database."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl

from local_supabase.rest_api.errors import RestError, not_built, range_not_satisfiable, unparsable

COMPARISONS = {
    "eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "like": "like", "ilike": "ilike",
}  # fmt: skip
IS_VALUES = {"null": "null", "not_null": "not null", "true": "true", "false": "false", "unknown": "unknown"}
_UNBUILT_OPERATORS = (
    "cs", "cd", "ov", "sl", "sr", "nxr", "nxl", "adj", "match", "imatch", "fts", "plfts", "phfts", "wfts",
    "isdistinct",
)  # fmt: skip


@dataclass(frozen=True)
class Filter:
    """`value` belongs to `operator`: a key of COMPARISONS and its text, `is` and a key of IS_VALUES, `in` and
    a tuple of texts."""

    column: str
    operator: str
    value: str | tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True)
class OrderTerm:
    column: str
    direction: Literal["", "asc", "desc"] = ""
    nulls: Literal["", "first", "last"] = ""


@dataclass(frozen=True)
class Query:
    """`select` may hold `*`. `columns` and `on_conflict` are None when not given. `arguments` are those of a
    function called by GET: name to text."""

    select: tuple[str, ...] = ("*",)
    filters: tuple[Filter, ...] = ()
    order: tuple[OrderTerm, ...] = ()
    limit: int | None = None
    offset: int = 0
    columns: tuple[str, ...] | None = None
    on_conflict: tuple[str, ...] | None = None
    arguments: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Preferences:
    """`applied` is what `Preference-Applied` may list, in PostgREST's order."""

    representation: Literal["representation", "minimal"] | None = None
    resolution: Literal["merge-duplicates", "ignore-duplicates"] | None = None
    missing_default: bool = False
    count: bool = False
    applied: tuple[str, ...] = ()


def parse(query_string: bytes, *, calls_function: bool = False) -> Query:
    """Read a query string. With `calls_function` (GET on a function) what is no filter is an argument.

    Raises:
        RestError: PGRST100 for what is wrong or not built, PGRST103 for a negative limit, PGRST108 for
            embedding.
    """
    single: dict[str, str] = {}
    filters: list[Filter] = []
    arguments: dict[str, str] = {}
    for key, value in _pairs(query_string):
        if key in _SINGLE:
            if key in single:
                raise not_built(f"A second '{key}' parameter")
            single[key] = value
        elif re.fullmatch(r"(.*\.)?(and|or)", key):
            raise not_built(f"The logic operator '{key}'")
        elif calls_function and not _OPERATOR.match(value):
            if key in arguments:
                raise not_built(f"A second '{key}' argument")
            arguments[key] = value
        else:
            filters.append(_filter(key, value))
    return Query(
        select=_select(single.get("select", "*")),
        filters=tuple(filters),
        order=_order(single["order"]) if "order" in single else (),
        limit=_limit(single["limit"]) if "limit" in single else None,
        offset=_whole_number("offset", single["offset"]) if "offset" in single else 0,
        columns=_names("columns", single["columns"]) if "columns" in single else None,
        on_conflict=_names("on_conflict", single["on_conflict"]) if "on_conflict" in single else None,
        arguments=arguments,
    )


def parse_preferences(headers: Sequence[str]) -> Preferences:
    """Read the `Prefer` headers; of two preferences of one kind the first counts, unknown ones are ignored.

    Raises:
        RestError: PGRST100 for a preference that PostgREST would obey and this stack would not.
    """
    asked = [preference.strip() for header in headers for preference in header.split(",")]
    for preference in asked:
        if preference.startswith(_UNBUILT_PREFERENCES):
            raise not_built(f"The preference '{preference}'")
    chosen = {kind: next((p for p in asked if p in kinds), None) for kind, kinds in _PREFERENCES.items()}
    return Preferences(
        representation=_value(chosen["return"]),  # type: ignore[arg-type]  # one of the two in _PREFERENCES
        resolution=_value(chosen["resolution"]),  # type: ignore[arg-type]  # likewise
        missing_default=chosen["missing"] == "missing=default",
        count=chosen["count"] is not None,
        applied=tuple(preference for preference in chosen.values() if preference),
    )


_SINGLE = ("select", "order", "limit", "offset", "columns", "on_conflict")

# A name is quoted, or letters, digits, `_`, `$`, blanks and inner hyphens. `->` starts a JSON path.
_NAME = r'(?:"(?:[^"\\]|\\.)*"|[\w $]+(?:-(?!>)[\w $]+)*)'
_NAME_ITEM = re.compile(f"({_NAME})", re.DOTALL)
_SELECT_ITEM = re.compile(rf"(\*|{_NAME})", re.DOTALL)
_ORDER_ITEM = re.compile(rf"({_NAME})(?:\.(asc|desc))?(?:\.nulls(first|last))?", re.DOTALL)
_LIST_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"(?=,|$)|([^,]*)', re.DOTALL)
_OPERATOR = re.compile(
    rf"(not\.)?({'|'.join([*COMPARISONS, 'is', 'in', *_UNBUILT_OPERATORS])})(\([^)]*\))?\.(.*)", re.DOTALL
)

_PREFERENCES = {
    "resolution": ("resolution=merge-duplicates", "resolution=ignore-duplicates"),
    "missing": ("missing=default", "missing=null"),
    "return": ("return=representation", "return=minimal"),
    "count": ("count=exact",),
    "handling": ("handling=lenient",),
}
_UNBUILT_PREFERENCES = (
    "return=headers-only", "count=planned", "count=estimated", "handling=strict", "timezone=",
    "max-affected=",
)  # fmt: skip


def _pairs(query_string: bytes) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError as error:
        raise RestError(400, "PGRST100", "The query string is not percent-encoded UTF-8") from error
    if any("\0" in text for pair in pairs for text in pair):
        raise RestError(400, "PGRST100", "The query string contains a NUL, which Postgres text cannot hold")
    return pairs


def _select(text: str) -> tuple[str, ...]:
    if not text:
        return ("*",)
    return tuple(_unquoted(item[1]) for item in _items("select parameter", text, _SELECT_ITEM))


def _names(parameter: str, text: str) -> tuple[str, ...]:
    items = _items(f"{parameter} parameter", text, _NAME_ITEM)
    return tuple(dict.fromkeys(_unquoted(item[1]) for item in items))


def _order(text: str) -> tuple[OrderTerm, ...]:
    return tuple(
        OrderTerm(_unquoted(item[1]), item[2] or "", item[3] or "")  # type: ignore[arg-type]  # the regex's words
        for item in _items("order", text, _ORDER_ITEM)
    )


def _items(parameter: str, text: str, item: re.Pattern[str]) -> Iterator[re.Match[str]]:
    """Items between commas, to the end of the text: nothing that is left over is passed over."""
    position = 0
    while True:
        match = item.match(text, position)
        if match:
            yield match
            position = match.end()
            if position == len(text):
                return
        if not match or text[position] != ",":
            raise unparsable(
                parameter,
                text,
                "A column name is expected, quoted if it is unusual. Embedding, aliases, casts, JSON paths "
                "and aggregates are not built into the embedded stack.",
                column=position + 1,
            )
        position += 1


def _unquoted(name: str) -> str:
    if name.startswith('"'):
        return re.sub(r"\\(.)", r"\1", name[1:-1], flags=re.DOTALL)
    return name.strip(" ")


def _filter(key: str, text: str) -> Filter:
    if not _NAME_ITEM.fullmatch(key):
        resource, dot, _ = key.rpartition(".")
        if dot:
            raise RestError(
                400,
                "PGRST108",
                f"'{resource}' is not an embedded resource in this request",
                hint=f"Verify that '{resource}' is included in the 'select' query parameter.",
            )
        raise unparsable("tree path", key, "A column name is expected")
    match = _OPERATOR.fullmatch(text)
    if not match:
        raise unparsable("filter", text, f"An operator is expected: not, is, in, {', '.join(COMPARISONS)}")
    negation, operator, quantifier, operand = match.groups()
    if operator in _UNBUILT_OPERATORS or quantifier:
        unbuilt = operator + (quantifier or "")
        raise unparsable("filter", text, f"The operator '{unbuilt}' is not built into the embedded stack")
    value: str | tuple[str, ...] = operand
    if operator == "is":
        value = operand.lower()
        if value not in IS_VALUES:
            raise unparsable("filter", text, f"After 'is' one of {', '.join(IS_VALUES)} is expected")
    elif operator == "in":
        value = _list(text, operand)
    return Filter(_unquoted(key), operator, value, bool(negation))


def _list(text: str, operand: str) -> tuple[str, ...]:
    """`(1,"y,z","q\\"r")`. `()` and, as in PostgREST, `("")` are the empty list."""
    if not (operand.startswith("(") and operand.endswith(")")):
        raise unparsable("filter", text, "After 'in' a list in parentheses is expected")
    inside, position, values = operand[1:-1], 0, []
    while match := _LIST_ITEM.match(inside, position):
        quoted, plain = match.groups()
        values.append(plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL))
        if ")" in (plain or ""):
            raise unparsable("filter", text, "A value that holds ')' must be quoted", column=position + 1)
        position = match.end() + 1
        if position > len(inside):
            break
    return () if values == [""] else tuple(values)


def _limit(text: str) -> int:
    if re.fullmatch("-[0-9]+", text):
        raise range_not_satisfiable("Limit should be greater than or equal to zero.")
    return _whole_number("limit", text)


def _whole_number(parameter: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text):
        raise unparsable(f"{parameter} parameter", text, "A whole number of at most 18 digits is expected")
    return int(text)


def _value(preference: str | None) -> str | None:
    return preference.partition("=")[2] if preference else None
