"""What supabase/migrations promise, read from the files, and where a database differs from it."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OWNER = "postgres"  # who runs migrations on Supabase: passes row level security, and is no superuser


@dataclass(frozen=True)
class Function:
    definer: bool
    body: str  # MD5


@dataclass(frozen=True)
class Promise:
    """The objects of schema public that the migrations end up with."""

    tables: set[str] = field(default_factory=set)
    functions: dict[str, Function] = field(default_factory=dict)
    policies: set[tuple[str, str, bool]] = field(default_factory=set)  # table, policy, is restrictive
    grants: set[tuple[str, str, str, str]] = field(default_factory=set)  # object, role, privilege, column or ""

    @property
    def names(self) -> list[str]:
        return sorted({*self.tables, *self.functions})


@dataclass(frozen=True)
class Facts:
    """What public.doctor_facts says of a database; its migration describes each."""

    now: float
    address: str | None
    tables: dict[str, bool]
    functions: list[dict[str, Any]]
    owners: dict[str, str]
    policies: list[list[Any]]
    grants: list[list[str]]
    triggers: dict[str, str]
    unendorsed: int
    peppers: dict[str, int]
    leftovers: list[str]


def read(folder: Path) -> Promise:
    """Read every migration in `folder`, in order. It understands the SQL that this project writes, no more."""
    promise = Promise()
    for file in sorted(folder.glob("*.sql")):
        for statement in _statements(file.read_text()):
            _apply(statement, promise)
    return promise


def differences(promise: Promise, facts: Facts, *, without: set[str]) -> Iterator[str]:
    """Say how the database differs, a sentence each. `without` are functions that may be missing."""
    found = {function["name"] for function in facts.functions}
    missing = sorted(promise.tables - facts.tables.keys()) + sorted(promise.functions.keys() - found - without)
    for name in missing:
        yield f"{name} is missing. Apply what is new in supabase/migrations: supabase db push"
    for table, is_secured in facts.tables.items():
        if not is_secured:
            yield f"{table} has no row level security: alter table public.{table} enable row level security"
    for function in facts.functions:
        name, promised = function["name"], promise.functions.get(function["name"])
        if promised is None or promised.body != function["body"]:
            yield f"{name} does something else. Create it again as in supabase/migrations, and drop others of this name"
        elif promised.definer != function["definer"] or not function["search_path_empty"]:
            rights = f"security {'definer' if promised.definer else 'invoker'} set search_path = ''"
            yield f"{name} runs with other rights or names: alter function public.{name} {rights}"
    for name, owner in facts.owners.items():
        if owner != OWNER:
            yield f"{name} works with the rights of {owner}. Make it belong to {OWNER}"
    policies = {tuple(policy) for policy in facts.policies}
    for table, policy, _ in sorted(promise.policies - policies):
        yield f'The policy "{policy}" on {table} is missing. Create it again as in supabase/migrations'
    for table, policy, _ in sorted(policies - promise.policies):
        yield f'There is a policy of somebody else: drop policy "{policy}" on public.{table}'
    grants = {tuple(grant) for grant in facts.grants}
    for grant in sorted(grants - promise.grants):
        yield f"{grant[1]} may do too much: revoke {_right(grant, promise)} from {grant[1]}"
    for grant in sorted(promise.grants - grants):
        if grant[0] not in [*missing, *without]:
            yield f"{grant[1]} may do too little: grant {_right(grant, promise)} to {grant[1]}"


def _statements(text: str) -> Iterator[str]:
    """Statement by statement, without comments, white space as single blanks, each $$body$$ as its MD5."""
    text = re.sub(
        r"\$\$(.*?)\$\$", lambda body: f"'{hashlib.md5(body[1].encode()).hexdigest()}'", text, flags=re.DOTALL
    )
    text = re.sub(r"--[^\n]*", "", text)
    yield from (" ".join(statement.split()) for statement in text.split(";"))


def _apply(statement: str, promise: Promise) -> None:
    if made := re.match(r"create table (?:if not exists )?public\.(\w+)", statement):
        promise.tables.add(made[1])
    elif made := re.match(r"create (?:or replace )?function public\.(\w+)(.*) as '(\w{32})'", statement):
        promise.functions[made[1]] = Function("security definer" in made[2], made[3])
    elif made := re.match(r'create policy "(.+?)" on public\.(\w+)( as restrictive)?', statement):
        promise.policies.add((made[2], made[1], made[3] is not None))
    elif gone := re.match(r"drop (?:table|function) (?:if exists )?public\.(\w+)", statement):
        promise.tables.discard(gone[1])
        promise.functions.pop(gone[1], None)
        _take(promise, gone[1], None)
    elif taken := re.match(r"revoke all on (?:table |function |sequence )?public\.(\w+).* from ([^()]+)$", statement):
        _take(promise, taken[1], taken[2].split(", "))
    elif given := re.match(r"grant (.+?) on (?:table |function |sequence )?public\.(\w+).* to ([^()]+)$", statement):
        for privilege, columns in re.findall(r"(\w+)(?: \(([^)]*)\))?", given[1]):
            for column in columns.split(", "):
                promise.grants.update((given[2], role, privilege, column) for role in given[3].split(", "))


def _take(promise: Promise, name: str, roles: list[str] | None) -> None:
    promise.grants.difference_update(
        [grant for grant in promise.grants if grant[0] == name and (roles is None or grant[1] in roles)]
    )


def _right(grant: tuple[str, ...], promise: Promise) -> str:
    name, _, privilege, column = grant
    kind = "function " if name in promise.functions else "table " if name in promise.tables else "sequence "
    return f"{privilege}{f' ({column})' if column else ''} on {kind}public.{name}"
