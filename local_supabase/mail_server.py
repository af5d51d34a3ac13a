"""Takes the mails that the app sends by SMTP, and puts them into the mailbox beside Supabase's own."""

import asyncio
import contextlib
import re
import socket
import threading
from collections.abc import Iterable, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from html import escape
from weakref import WeakSet

from aiosmtpd.smtp import SMTP, Envelope, Session

from local_supabase import mailbox
from local_supabase.platform import Platform

MAX_MAIL_BYTES = 1024 * 1024


class _Handler:
    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, _class=EmailMessage, policy=policy.default)
        with self._platform.auth_pool.connection() as connection:
            for address in envelope.rcpt_tos:
                mailbox.post(
                    connection, to=address.lower(), subject=message["Subject"] or "", html=_html(message), kind="notice"
                )
        return "250 OK"


@contextlib.contextmanager
def serving(platform: Platform, listener: socket.socket) -> Iterator[None]:
    """Answer at `listener` while the block runs. The caller's thread may have an event loop of its own running."""
    loop, over = asyncio.new_event_loop(), asyncio.Event()
    main = _answer(platform, listener, over)
    thread = threading.Thread(target=lambda: loop.run_until_complete(main), name="local_supabase mail", daemon=True)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


async def _answer(platform: Platform, listener: socket.socket, over: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    connections: WeakSet[SMTP] = WeakSet()

    def protocol() -> SMTP:
        made = SMTP(
            _Handler(platform), data_size_limit=MAX_MAIL_BYTES, enable_SMTPUTF8=True, hostname="localhost", loop=loop
        )
        connections.add(made)
        return made

    server = await loop.create_server(protocol, sock=listener)
    await over.wait()
    loop.remove_reader(listener)  # accepts nobody any more
    await _hang_up(connections)
    server.close()


async def _hang_up(connections: Iterable[SMTP]) -> None:
    """End every connection, also one that was accepted a moment ago and is not among them yet."""
    await _some_turns()
    for connection in list(connections):
        if connection.transport:
            connection.transport.close()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await _some_turns()


async def _some_turns() -> None:
    """Let the loop do what it has put off: a transport begins, and ends, a few turns later."""
    for _ in range(5):
        await asyncio.sleep(0)


def _html(message: EmailMessage) -> str:
    """The mail's plain text, with links that can be clicked."""
    body = message.get_body(("plain",))
    text = escape(body.get_content() if body else "")
    return "<p>" + re.sub(r"https?://\S+", r'<a href="\g<0>">\g<0></a>', text).replace("\n", "<br>") + "</p>"
