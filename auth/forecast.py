"""The lock-out forecast: what is left to sign in with when something is lost or removed. Pure.

Ways are the names of the second factors that work: authenticator apps, and passkeys that are not suspect.
"""

from collections.abc import Sequence


def of_loss(ways: Sequence[str], codes: int) -> str:
    """Say whether the next loss locks the person out; `codes` recovery codes are left."""
    match len(ways):
        case 0 if codes:
            return "You can sign in with a recovery code alone: set up a passkey or an authenticator app."
        case 0:
            return "Your password is all it takes to sign in."
        case 1 if codes:
            return f"If you lose {_quoted(ways)}, you can still sign in with a recovery code."
        case 1:
            return f"If you lose {_quoted(ways)}, you could not sign in any more."
    more = ", or with a recovery code" if codes else ""
    return f"If you lose one of {_quoted(ways, 'and')}, you can still sign in with what is left{more}."


def of_removal(rest: Sequence[str], codes: int, *, last: bool) -> str:
    """Say what signing in takes when only `rest` is left. `last`: no second factor remains, and the codes go too."""
    if last:
        gone = " Your recovery codes end with it." if codes else ""
        return f"This is your only second factor. Without it, your password alone signs in, also for a thief.{gone}"
    if not rest:
        return "Then you could not sign in any more, but with a recovery code." if codes else LOCKED_OUT
    return f"Then you can still sign in with {_quoted(rest, 'or')}. {of_loss(rest, codes)}"


LOCKED_OUT = "Then you could not sign in any more: what is left is not accepted. Set up something else first."


def _quoted(names: Sequence[str], last: str = "") -> str:
    quoted = [f"“{name}”" for name in names]
    return f" {last} ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)
