"""What public.mfa_remove_factor() and public.passkey_remove() answer."""

from typing import Any

from auth.refusals import FactorsChanged


def was_last(answer: Any) -> bool | None:
    """Whether no second factor is left. None: there was nothing to remove.

    Raises FactorsChanged: it has become the last one, which takes fresher proof; it is still there.
    """
    if answer == "kept":
        raise FactorsChanged
    return None if answer is None else answer == "last"
