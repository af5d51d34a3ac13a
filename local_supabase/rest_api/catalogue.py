"""What Postgres says of a table or function in schema `public`, asked anew for every request.

PostgREST keeps a schema cache and has to be told when it is stale; a catalogue query that Postgres has planned
before costs little enough that nothing here can be stale.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from psycopg import RawCursor
from psycopg.rows import DictRow

from local_supabase.rest_api.errors import RestError

Cursor = RawCursor[DictRow]


@dataclass(frozen=True)
class Column:
    """`type` and `default` are SQL text written by Postgres itself, fit to stand in a statement."""

    type: str
    default: str | None


@dataclass(frozen=True)
class Table:
    name: str
    columns: dict[str, Column]
    primary_key: tuple[str, ...]

    def column(self, name: str) -> Column:
        """Raises: RestError PGRST204 if there is none of that name."""
        try:
            return self.columns[name]
        except KeyError:
            message = f"Could not find the '{name}' column of '{self.name}' in the schema cache"
            raise RestError(400, "PGRST204", message) from None


@dataclass(frozen=True)
class Function:
    """`arguments` are the input arguments by name, with their SQL types. `settings` are those of the function
    that have to hold for the whole transaction to have any effect."""

    name: str
    arguments: dict[str, str]
    required: frozenset[str]
    returns: Literal["void", "scalar", "composite"]
    returns_set: bool
    volatile: bool
    settings: tuple[tuple[str, str], ...]


def find_table(cursor: Cursor, name: str) -> Table:
    """Return the table or view `public.<name>`.

    Raises:
        RestError: PGRST205.
    """
    row = cursor.execute(_TABLE, [name], prepare=True).fetchone()
    if row is None:
        message = f"Could not find the table 'public.{name}' in the schema cache"
        raise RestError(404, "PGRST205", message)
    columns = {column["name"]: Column(column["type"], column["default"]) for column in row["columns"]}
    return Table(name, columns, tuple(row["primary_key"]))


def find_function(cursor: Cursor, name: str, given: Iterable[str]) -> Function:
    """Return the one function `public.<name>` that can be called with the arguments named `given`.

    Raises:
        RestError: PGRST202 if there is none, PGRST203 if there are several.
    """
    names = frozenset(given)
    candidates = [_function(row) for row in cursor.execute(_FUNCTIONS, [name], prepare=True)]
    fitting = [f for f in candidates if f.required <= names <= f.arguments.keys()]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        listed = ", ".join(f"public.{name}({_signature(function)})" for function in fitting)
        raise RestError(
            300,
            "PGRST203",
            f"Could not choose the best candidate function between: {listed}",
            hint="Try renaming the parameters or the function itself in the database so function overloading "
            "can be resolved",
        )
    raise _no_function(name, sorted(names))


def role_settings(cursor: Cursor, role: str) -> list[tuple[str, str]]:
    """Return what `alter role … set` gave `role`, as far as the login role may set it on its behalf.

    Postgres applies such settings only at login; the request logs in as `authenticator`.
    """
    return [(row["name"], row["value"]) for row in cursor.execute(_ROLE_SETTINGS, [role], prepare=True)]


def _function(row: DictRow) -> Function:
    arguments = row["arguments"] or []
    required = arguments[: len(arguments) - row["defaults"]]
    return Function(
        name=row["name"],
        arguments={argument["name"]: argument["type"] for argument in arguments},
        required=frozenset(argument["name"] for argument in required),
        returns=row["returns"],
        returns_set=row["returns_set"],
        volatile=row["volatile"],
        settings=tuple((name, value) for name, value in row["settings"]),
    )


def _signature(function: Function) -> str:
    return ", ".join(f"{name} => {type_}" for name, type_ in function.arguments.items())


def _no_function(name: str, arguments: list[str]) -> RestError:
    listed = ", ".join(arguments)
    called = f"public.{name}({listed})" if arguments else f"public.{name} without parameters"
    plural = "s" if len(arguments) > 1 else ""
    searched = f"with parameter{plural} {listed}" if arguments else "without parameters"
    return RestError(
        404,
        "PGRST202",
        f"Could not find the function {called} in the schema cache",
        details=f"Searched for the function public.{name} {searched}, but no matches were found in the schema cache.",
    )


# The default of an identity column is not an expression in the catalogue; `nextval` on its sequence is.
_TABLE = """
    select coalesce(
             (select json_agg(json_build_object(
                'name', attname,
                'type', format_type(atttypid, atttypmod),
                'default', case
                  when attidentity = 'd'
                    then format('nextval(%L)', pg_get_serial_sequence(c.oid::regclass::text, attname))
                  when attidentity = '' and attgenerated = '' then pg_get_expr(adbin, adrelid)
                end))
              from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
              where attrelid = c.oid and attnum > 0 and not attisdropped), '[]') as columns,
           coalesce(
             (select json_agg(attname order by array_position(conkey, attnum))
              from pg_constraint join pg_attribute on attrelid = conrelid and attnum = any (conkey)
              where conrelid = c.oid and contype = 'p'), '[]') as primary_key
    from pg_class c
    where relnamespace = 'public'::regnamespace and relname = $1
      and relkind in ('r', 'p', 'v', 'm', 'f') and not relispartition
"""

# Unnamed and variadic arguments cannot be given by name, so such functions are not found.
_FUNCTIONS = """
    select proname as name, pronargdefaults as defaults, arguments, proretset as returns_set,
           provolatile = 'v' as volatile,
           case when prorettype = 'void'::regtype and not proretset then 'void'
                when typtype = 'c' or proargmodes && '{t,b,o}' then 'composite'
                else 'scalar' end as returns,
           coalesce(
             (select json_agg(json_build_array(split_part(setting, '=', 1),
                                               substr(setting, strpos(setting, '=') + 1)))
              from unnest(proconfig) setting where setting like 'statement\\_timeout=%'), '[]') as settings
    from pg_proc
    join pg_type on pg_type.oid = prorettype
    cross join lateral (
      select json_agg(json_build_object('name', name, 'type', format_type(type, -1)) order by position)
               as arguments,
             coalesce(bool_and(coalesce(name, '') <> '' and mode <> 'v'), true) as callable
      from (select type, name, coalesce(mode, 'i') as mode, position
            from unnest(coalesce(proallargtypes, proargtypes::oid[]), proargnames, proargmodes)
              with ordinality as each (type, name, mode, position)) argument
      where mode in ('i', 'b', 'v')
    ) argument
    where pronamespace = 'public'::regnamespace and proname = $1 and prokind = 'f' and callable
      and prorettype <> 'trigger'::regtype
"""

# pg_settings computes all its rows, so only for a role that has settings; `offset 0` keeps it inside the loop.
_ROLE_SETTINGS = """
    select setting.name, substr(entry, strpos(entry, '=') + 1) as value
    from pg_roles cross join lateral unnest(rolconfig) as entry
    cross join lateral (select name, context from pg_settings where name = split_part(entry, '=', 1) offset 0) setting
    where rolname = $1 and setting.name <> 'default_transaction_isolation'
      and (setting.context = 'user' or has_parameter_privilege(setting.name, 'set'))
"""
