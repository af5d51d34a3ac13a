"""The access token hook, and a database that refuses: nothing is issued and nothing is left behind.

On our own stack only: its hook does what the person's user_metadata says (see conftest.py).
"""

import json

import pytest

BROKEN = ["raises", "sleeps", "null", "no claims", "no session_id", "exp is text"]

pytestmark = pytest.mark.usefixtures("our_server")


@pytest.mark.parametrize("behaviour", BROKEN)
def test_a_broken_hook_means_no_token_and_no_session(people, database, behaviour):
    """40: an error, 2 s, or an answer that is no claim set; and nothing of the cause is told."""
    person = people.add(user_metadata={"hook": behaviour})
    answer = person.log_in()
    assert answer.refusal == (500, "unexpected_failure")
    assert "refused by the hook" not in json.dumps(answer.body)
    assert database.execute("select from auth.sessions where user_id = %s", [person.id]).fetchone() is None


def test_a_hook_may_refuse_with_its_own_status_and_words(people, database):
    """6.1: the error object."""
    person = people.add(user_metadata={"hook": "objects"})
    answer = person.log_in()
    assert answer.refusal == (403, "unknown")
    assert answer.body["message"] == "not today"
    assert database.execute("select from auth.sessions where user_id = %s", [person.id]).fetchone() is None


def test_a_hook_that_breaks_later_leaves_the_refresh_token_unused(people):
    """40: the rotation is undone with the rest."""
    person = people.add()
    phone = person.sign_in()
    phone.call("PUT", "/user", {"data": {"hook": "raises"}})
    assert phone.refresh().refusal == (500, "unexpected_failure")
    phone.call("PUT", "/user", {"data": {"hook": None}})
    assert phone.refresh().status == 200


def test_a_hook_that_breaks_at_the_code_leaves_the_session_at_aal1(people, database):
    """40: the proof, the factor's status and the challenge are undone too."""
    phone = people.add().sign_in()
    factor = phone.enroll()
    challenge = phone.challenge(factor)
    phone.call("PUT", "/user", {"data": {"hook": "raises"}})
    assert phone.verify(factor, challenge).refusal == (500, "unexpected_failure")
    phone.call("PUT", "/user", {"data": {"hook": None}})
    phone.refresh()
    assert (phone.claims["aal"], phone.methods) == ("aal1", ["password"])
    assert phone.verify(factor, challenge).status == 200


def test_the_hook_is_told_how_the_token_came_about(people):
    """6.2: input and claims, which it may add to."""
    phone = people.add(user_metadata={"hook": "adds"}).sign_in()
    told = phone.claims["extra"]
    assert told["user_id"] == phone.claims["sub"]
    assert told["authentication_method"] == "password"
    assert told["metadata"]["name"] == "customize-access-token"
    phone.refresh()
    assert phone.claims["extra"]["authentication_method"] == "token_refresh"
    phone.step_up(phone.enroll())
    assert phone.claims["extra"]["authentication_method"] == "totp"


def test_a_trigger_that_refuses_is_an_unexpected_failure(people, database):
    """How an app guards Supabase Auth's tables: a 500 that tells nothing, and nothing written."""
    person = people.add()
    phone = person.sign_in()
    factor = phone.enroll()
    database.execute(
        "create function public.refuse() returns trigger language plpgsql as"
        " $$ begin raise exception 'a secret reason'; end $$"
    )
    try:
        database.execute(
            "create trigger refuse before insert on auth.mfa_challenges for each row"
            f" when (new.factor_id = '{factor['id']}') execute function public.refuse()"
        )
        answer = phone.call("POST", f"/factors/{factor['id']}/challenge")
        assert answer.refusal == (500, "unexpected_failure")
        assert "secret" not in json.dumps(answer.body)
    finally:
        database.execute("drop function public.refuse cascade")
    assert phone.call("POST", f"/factors/{factor['id']}/challenge").status == 200
