"""That the time of an answer does not tell who has an account (our own stack; a real one leaves that to chance)."""

import time

import pytest

from local_supabase.auth_api import steady

pytestmark = pytest.mark.usefixtures("our_server")


@pytest.mark.parametrize(
    ("path", "body", "floor"),
    [
        ("/token?grant_type=password", {"password": "wrong"}, "WITH_HASH_SECONDS"),
        ("/signup", {"password": "long enough 1"}, "WITH_HASH_SECONDS"),
        ("/otp", {}, "WITH_HASH_SECONDS"),
        ("/otp", {"create_user": False}, "WITH_HASH_SECONDS"),
        ("/magiclink", {}, "WITH_HASH_SECONDS"),
        ("/recover", {}, "QUICK_SECONDS"),
        ("/resend", {"type": "signup"}, "QUICK_SECONDS"),
    ],
)
def test_no_answer_comes_before_that_for_another_address_could(wire, people, alice, database, path, body, floor):
    """31, 33: known, unconfirmed and unknown addresses alike."""
    unconfirmed = people.add(email_confirm=False).email
    unknown = people.free_address()
    for address in (alice.email, unconfirmed, unknown):
        begin = time.monotonic()
        wire("POST", path, {"email": address, **body})
        assert time.monotonic() - begin >= getattr(steady, floor)
    made = database.execute("select id::text from auth.users where email = %s", [unknown]).fetchall()
    people.made += [user_id for (user_id,) in made]
