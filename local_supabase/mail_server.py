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
    """Answer at `listener` while the block runs."""
    loop = asyncio.new_event_loop()

    connections: WeakSet[SMTP] = WeakSet()

    def protocol() -> SMTP:
        made = SMTP(
            _Handler(platform), data_size_limit=MAX_MAIL_BYTES, enable_SMTPUTF8=True, hostname="localhost", loop=loop
        )
        connections.add(made)
        return made

    # Nothing of it runs in the caller's thread, where another loop may be running: a browser test's, for one.
    thread = threading.Thread(target=loop.run_forever, name="local_supabase mail", daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(loop.create_server(protocol, sock=listener), loop).result()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(server.close)
        asyncio.run_coroutine_threadsafe(_hang_up(connections), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _hang_up(connections: Iterable[SMTP]) -> None:
    for connection in list(connections):
        if connection.transport:
            connection.transport.close()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _html(message: EmailMessage) -> str:
    """The mail's plain text, with links that can be clicked."""
    body = message.get_body(("plain",))
    text = escape(body.get_content() if body else "")
    return "<p>" + re.sub(r"https?://\S+", r'<a href="\g<0>">\g<0></a>', text).replace("\n", "<br>") + "</p>"
