"""What support sees of other people's accounts, and does with them. The database decides who may."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from auth import security_log
from auth.attempts import Rules
from auth.gateway import Gateway
from auth.notices import Notices
from auth.refusals import AlreadyDone, NotYours, OwnAccount, UnknownPerson
from auth.security_log import KINDS, MOST_ENTRIES, WAYS, Entry

MOST_FOUND = 20

T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """`people` are pairs of id and address."""

    people: list[tuple[str, str]]
    more: bool


@dataclass(frozen=True)
class AnyFactor:
    """An app or a passkey of somebody. Times are Unix time, or None: never, or not known of an app."""

    id: str
    name: str
    kind: str
    created_at: float
    last_used_at: float | None = None
    suspect: bool = False


@dataclass(frozen=True)
class SheetLeft:
    label: int
    made_at: float
    left: int


@dataclass(frozen=True)
class WrongCodes:
    """Of one kind, since the last right one. `disabled`: not until support switches them on again."""

    kind: str
    since_success: int
    disabled: bool
    locked_seconds: int

    @property
    def are_off(self) -> bool:
        return self.disabled or self.locked_seconds > 0


@dataclass(frozen=True)
class OneSession:
    how: str
    since: float
    aal: str


@dataclass(frozen=True)
class Person:
    """Somebody as support sees them. What they keep here is not among it."""

    id: str
    email: str
    created_at: float
    confirmed: bool
    banned: bool
    factors: list[AnyFactor]
    codes: SheetLeft | None
    wrong_codes: list[WrongCodes]
    sessions: list[OneSession]
    log: list[Entry]


@dataclass(frozen=True)
class Administration:
    """The flows, and what they need to know and to reach. `actor` is the id of who does it.

    All of them raise NotYours when that is no administrator, or none any more, and UnknownPerson; those that change
    something OwnAccount too.
    """

    gateway: Gateway
    notices: Notices
    rules: Rules

    def find(self, actor: str, part: str) -> Found:
        """Find people by a part of their address."""
        return self._ask(
            "admin_find",
            lambda answer: Found([(row["id"], row["email"]) for row in answer["people"]], answer["more"]),
            p_actor=actor,
            p_part=part,
            p_most=MOST_FOUND,
        )

    def look(self, actor: str, user_id: str) -> Person:
        """Look at somebody, which that person's log tells them, once an hour."""
        return self._ask(
            "admin_person", _person, p_actor=actor, p_user=user_id, p_cap=self.rules.cap, p_most=MOST_ENTRIES
        )

    def end_sessions(self, actor: str, user_id: str, reason: str) -> str:
        """Sign somebody out everywhere. Return what was done, in a sentence, as the other deeds do."""
        ended = self._ask(
            "admin_end_sessions", lambda answer: int(answer["ended"]), p_actor=actor, p_user=user_id, p_reason=reason
        )
        return f"Sessions that were ended: {ended}."

    def withdraw(self, actor: str, user_id: str, factor_id: str, reason: str, *, now: float) -> str:
        """Remove an app or a passkey. Its owner is told by mail. Raises AlreadyDone."""
        email, name, last = self._ask(
            "admin_withdraw",
            lambda answer: (answer["email"], answer["name"], answer["last"]),
            p_actor=actor,
            p_user=user_id,
            p_factor=factor_id,
            p_reason=reason,
        )
        self.notices.withdrawn_by_support(email, name, now, last=last)
        return f"“{name}” was withdrawn." + (" It was the last second factor of this account." if last else "")

    def lift(self, actor: str, user_id: str, reason: str) -> str:
        """Let codes be entered again. Raises AlreadyDone."""
        kinds = self._ask(
            "admin_lift",
            lambda answer: list(answer["kinds"]),
            p_actor=actor,
            p_user=user_id,
            p_cap=self.rules.cap,
            p_reason=reason,
        )
        return " ".join(f"{KINDS[kind]} can be entered again." for kind in kinds)

    def _ask(self, function: str, into: Callable[[Any], T], **arguments: Any) -> T:
        def read(answer: Any) -> T:
            return _refuse(answer["refused"]) if "refused" in answer else into(answer)

        return self.gateway.call(function, read, **arguments)


def _refuse(why: str) -> NoReturn:
    match why:
        case "self":
            raise OwnAccount
        case "unknown":
            raise UnknownPerson
        case "gone":
            raise AlreadyDone
        case _:
            raise NotYours


def _person(answer: Any) -> Person:
    return Person(
        id=answer["id"],
        email=answer["email"],
        created_at=answer["created_at"],
        confirmed=answer["confirmed"],
        banned=answer["banned"],
        factors=[AnyFactor(kind="Authenticator app", **app) for app in answer["apps"]]
        + [AnyFactor(kind="Passkey", **passkey) for passkey in answer["passkeys"]],
        codes=SheetLeft(**answer["codes"]) if answer["codes"] else None,
        wrong_codes=[WrongCodes(**row | {"kind": KINDS[row["kind"]]}) for row in answer["attempts"]],
        sessions=[OneSession(_how(row["signed_in_with"]), row["since"], row["aal"]) for row in answer["sessions"]],
        log=security_log.entries(answer["log"]),
    )


def _how(signed_in_with: str | None) -> str:
    return "past this app" if signed_in_with is None else WAYS.get(signed_in_with, "with a link from a mail")
