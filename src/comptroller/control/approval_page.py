"""A page for whoever is sent to a ticket by an MCP client: it says what to do, and nothing about the ticket.

Anybody may open it: it knows no ticket, answers none and asks for no credential. What a ticket is about is told to
admins by the command, and to whoever asked by the caller API.
"""

from __future__ import annotations

import re

from comptroller.control.caller_route import NEVER_KEPT, Asked
from comptroller.control.office import Office
from comptroller.control.problem import not_found
from comptroller.flow.door import Answered

PATH = "/comptroller/approvals"
_TICKET = re.compile(r"apr_[0-9A-Za-z]{1,40}", re.ASCII)
_HEADERS = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    NEVER_KEPT,
)
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Approval {ticket}</title>
<style>body {{ font: 16px/1.5 sans-serif; max-width: 42em; margin: 3em auto; padding: 0 1em }}</style>
<h1>A tool waits for an approval</h1>
<p>The ticket is <code>{ticket}</code>. Whoever answers for its role looks at it, and says yes or no:</p>
<pre>comptroller approvals show {ticket}
comptroller approvals approve {ticket} --reason "..."
comptroller approvals deny {ticket} --reason "..."</pre>
<p>Then go on in your client: it sends the call again. Opening this page has answered nothing.</p>
</html>
"""


async def show(office: Office, asked: Asked) -> Answered:
    """What to do about a ticket of this name, if there is one."""
    ticket = asked.path["ticket"]
    if not _TICKET.fullmatch(ticket):
        raise not_found("That is not the id of a ticket.", "A refusal names the ticket that it waits for: apr_...")
    return Answered(200, _HEADERS, _PAGE.format(ticket=ticket).encode())
