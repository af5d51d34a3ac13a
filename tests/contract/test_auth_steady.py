"""That the time of an answer does not tell who has an account (our own stack; a real one leaves that to chance)."""

import time

import pytest

from local_supabase import config
from local_supabase.auth_api import steady

AS_SHIPPED = config.read()  # other tests' passwords are hashed faster
pytestmark = pytest.mark.usefixtures("our_server")


@pytest.mark.parametrize(
    ("path", "body", "hashes"),
    [
        ("/token?grant_type=password", {"password": "wrong"}, True),
        ("/signup", {"password": "long enough 1"}, True),
        ("/otp", {}, True),
        ("/otp", {"create_user": False}, True),
        ("/magiclink", {}, True),
        ("/recover", {}, False),
        ("/resend", {"type": "signup"}, False),
    ],
)
def test_no_answer_comes_before_that_for_another_address_could(people_with, database, path, body, hashes):
    """31, 33: known, unconfirmed and unknown addresses alike."""
    people = people_with(password_cost=AS_SHIPPED.password_cost)
    floor = steady.with_hash_seconds(AS_SHIPPED) if hashes else steady.QUICK_SECONDS
    unknown = people.free_address()
    for address in (people.add().email, people.add(email_confirm=False).email, unknown):
        begin = time.monotonic()
        people.wire("POST", path, {"email": address, **body})
        assert time.monotonic() - begin >= floor
    made = database.execute("select id::text from auth.users where email = %s", [unknown]).fetchall()
    people.made += [user_id for (user_id,) in made]


def test_a_password_is_hashed_at_supabase_auths_own_cost(people_with, database):
    person = people_with(password_cost=AS_SHIPPED.password_cost).add()
    (kept,) = database.execute("select encrypted_password from auth.users where id = %s", [person.id]).fetchone()
    assert kept.startswith("$2b$10$")
