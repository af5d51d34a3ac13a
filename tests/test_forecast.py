"""The lock-out forecast, by arithmetic alone."""

import pytest

from auth.forecast import of_loss, of_removal


@pytest.mark.parametrize(
    ("ways", "codes", "sentence"),
    [
        ([], 0, "Your password is all it takes to sign in."),
        ([], 3, "You can sign in with a recovery code alone: set up a passkey or an authenticator app."),
        (["Phone"], 0, "If you lose “Phone”, you could not sign in any more."),
        (["Phone"], 1, "If you lose “Phone”, you can still sign in with a recovery code."),
        (["Key", "Phone"], 0, "If you lose one of “Key” and “Phone”, you can still sign in with what is left."),
        (
            ["Key", "Phone", "Tablet"],
            9,
            "If you lose one of “Key”, “Phone” and “Tablet”, you can still sign in with what is left, or with a "
            "recovery code.",
        ),
    ],
)
def test_of_a_loss(ways, codes, sentence):
    assert of_loss(ways, codes) == sentence


@pytest.mark.parametrize(
    ("rest", "codes", "last", "said"),
    [
        ([], 0, True, "your only second factor. Without it, your password alone signs in, also for a thief."),
        ([], 5, True, "Your recovery codes end with it."),
        ([], 0, False, "Then you could not sign in any more"),  # all the others are suspect
        ([], 5, False, "but with a recovery code"),
        (["Key"], 0, False, "can still sign in with “Key”. If you lose “Key”, you could not sign in any more."),
        (["Key"], 5, False, "with “Key”. If you lose “Key”, you can still sign in with a recovery code."),
        (["Key", "Phone"], 0, False, "with “Key” or “Phone”. If you lose one of “Key” and “Phone”"),
    ],
)
def test_of_a_removal(rest, codes, last, said):
    assert said in of_removal(rest, codes, last=last)
