"""Tools of MCP servers: which are held back, how their definitions changed, and deciding about one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from shlex import quote

from comptroller.control.office import Office
from comptroller.control.problem import conflict, ledger_unavailable, not_found
from comptroller.control.reason import read_reason
from comptroller.control.tool_rows import ToolRow, ToolShown, tool_row, tool_shown, waits
from comptroller.core.problem import did_you_mean
from comptroller.core.tool import pin as rules
from comptroller.core.tool.pin import BY_ITSELF, No, Pin
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import PinChanged

Decide = Callable[[Pin, str, str, str, int], Pin | No]


def list_tools(office: Office, server: str | None = None, *, waiting: bool = False) -> Sequence[ToolRow]:
    """Every tool that a server has ever listed, by name; with `waiting`, those that somebody should look at."""
    registry, pins = office.gate.registry, office.gate.pins.all()
    rows = [tool_row(registry, pin) for pin in pins if server is None or pin.server == server]
    return [row for row in rows if waits(row)] if waiting else rows


async def show_tool(office: Office, name: str) -> ToolShown:
    """One tool: the definition that was accepted, that which its server shows, and what differs."""
    await office.catch_up()
    pin = _known(office, name)
    texts = await office.ledger.tool_definitions(pin.server, pin.tool)
    return tool_shown(tool_row(office.gate.registry, pin), pin, texts)


async def accept(office: Office, name: str, digest: str, reason: str, actor: str) -> ToolRow:
    """Accept what its server says of a tool, if that has this digest: it is listed, and can be called."""
    return await _decide(office, name, digest, reason, actor, rules.accept)


async def reject(office: Office, name: str, digest: str, reason: str, actor: str) -> ToolRow:
    """Say no to it, accepted or not: the tool is held back until its server says something else."""
    return await _decide(office, name, digest, reason, actor, rules.reject)


async def _decide(office: Office, name: str, digest: str, reason: str, actor: str, rule: Decide) -> ToolRow:
    """On disk first: a right that a restart would take back was never given."""
    words = read_reason(reason, "Say what you have looked at, for whoever asks later.")
    async with office.changing:
        await office.catch_up()
        gate, pin = office.gate, _known(office, name)
        now_ns = gate.clock.now_ns()
        decided = rule(pin, digest, actor, words, now_ns)
        if isinstance(decided, No):
            raise conflict(decided.sentence, decided.hint)
        if decided.digest == digest and digest not in await office.ledger.tool_definitions(pin.server, pin.tool):
            raise conflict(
                f"{name} was described otherwise a moment ago, and nobody can have looked at that yet.",
                f"`comptroller tools diff {quote(pin.name)}` shows it within a minute.",
            )
        try:
            await gate.journal.commit(PinChanged(now_ns, actor, decided))
        except LedgerUnavailableError as error:
            raise ledger_unavailable(f"{name} stays as it is: {error}.") from error
        current = gate.pins.pin(pin.server, pin.tool)
        if current is None or current is not pin:  # its server has listed it while we waited
            if current is not None:
                gate.journal.append(PinChanged(gate.clock.now_ns(), BY_ITSELF, current))
            hint = f"Look again: `comptroller tools diff {quote(pin.name)}`."
            raise conflict(f"{name} was described otherwise just now.", hint)
        gate.pins.put(decided)
        return tool_row(gate.registry, decided)


def _known(office: Office, name: str) -> Pin:
    """The pin of SERVER/TOOL, as lists show that name. Raises ControlProblem."""
    server, _, tool = name.partition("/")
    pin = office.gate.pins.pin(server, tool)
    if pin is not None:
        return pin
    pins = {each.name: each for each in office.gate.pins.all()}
    if name in pins:
        return pins[name]
    meant = did_you_mean(name, pins)
    raise not_found(
        f"No server has listed a tool {name[:200]!r}. {meant}".rstrip(),
        "`comptroller tools list` shows those that are known; a server's are known once a client has listed them.",
    )
