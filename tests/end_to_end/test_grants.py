"""Approvals and grants on a running gateway: the commands, who may, restarts, and whose tickets are whose."""

from collections.abc import Iterator

import pytest

from tests.end_to_end.caller import Row
from tests.harness.configuration import budget, identity, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

ROLES = {
    "finops": {"approvers": ["ada", "eve", "red-lead@acme.example"], "escalate_to": "cfo", "four_eyes_above_usd": "10"},
    "cfo": {"approvers": ["cleo"]},
}
IDENTITIES = {"agent/ant": identity("red"), "agent/bee": identity("blue")}
BUDGETS = [
    budget("all", "10.00 USD", owner_role="finops"),
    budget("board", "100.00 USD", owner_role="cfo"),
]
ADMINS = {
    "ada": "admin",
    "eve": "approver",
    "cleo": "approver",
    "olga": "operator",
    "red-lead@acme.example": "approver",
}
GIVEN = ("--role", "finops", "--for", "1h", "--reason", "INC-9")


@pytest.fixture(scope="module")
def gateway(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("approvals")
    with GatewayProcess(
        folder, process(sandbox_process.url), registry(BUDGETS, IDENTITIES, approvals=ROLES)
    ) as running:
        for name, role in ADMINS.items():
            made = running.admin("POST", "/admins", {"name": name, "role": role})
            running.env[name] = made["credential"]
            running.named = running.env["ada"]
        yield running
        assert "Traceback" not in running.log()


def act(gateway: GatewayProcess, who: str, *line: str, fails: bool = False) -> str:
    """What the command prints for this admin; its error, where it fails."""
    gateway.named = gateway.env[who]
    done = gateway.command(*line, check=False)
    gateway.named = gateway.env["ada"]
    assert (done.returncode == 1) is fails, (done.stdout, done.stderr)
    return (done.stderr if fails else done.stdout).strip()


def the(gateway: GatewayProcess, grant_id: str) -> Row:
    return next(each for each in gateway.admin("GET", "/grants?all=true") if each["id"] == grant_id)


def make(gateway: GatewayProcess, who: str = "ada", *more: str, fails: bool = False) -> str:
    said = act(gateway, who, "grants", "make", "identity", "agent/ant", *GIVEN, *more, fails=fails)
    return said if fails else said.split()[0]


def test_a_grant_is_made_listed_and_taken_back(gateway: GatewayProcess) -> None:
    said = act(
        gateway, "eve", "grants", "make", "identity", "agent/ant", *GIVEN, "--amount", "5 USD", "--budget", "all"
    )
    grant_id = said.split()[0]
    assert grant_id.startswith("grt_")
    assert "is given to identity agent/ant, up to 5.00 USD, until" in said
    listed = act(gateway, "olga", "grants")
    assert all(each in listed for each in (grant_id, "active", "finops", "5.00 USD", "eve", "INC-9"))
    before = the(gateway, grant_id)
    assert (before["budgets"], before["suspends"], before["uses"]) == (["all"], True, None)
    gateway.kill9()
    gateway.start()
    assert the(gateway, grant_id) == before, "a restart forgets nothing of it"
    assert "is revoked: 0.00 USD were spent by it" in act(
        gateway, "olga", "grants", "revoke", grant_id, "--reason", "it is over"
    )
    assert act(gateway, "olga", "grants", "list") == "No grant is in force."
    assert "revoked" in act(gateway, "olga", "grants", "list", "--all")
    told = [(each["verb"], each["actor"]) for each in gateway.admin("GET", "/changes") if each["key"] == grant_id]
    assert told == [("revoke", "olga"), ("give", "eve")]


def test_a_grant_by_hand_is_for_tools_that_it_names(gateway: GatewayProcess) -> None:
    said = act(
        gateway,
        "eve",
        "grants",
        "make",
        "identity",
        "agent/ant",
        *GIVEN,
        "--tool",
        "files/*",
        "--uses",
        "3",
        "--amount",
        "1 USD",
    )
    grant_id = said.split()[0]
    assert "is given to identity agent/ant, 3 calls of files/*, up to 1.00 USD, until" in said
    assert "identity agent/ant: files/*" in act(gateway, "olga", "grants")
    assert (the(gateway, grant_id)["tool"], the(gateway, grant_id)["arguments_digest"]) == ("files/*", "")
    act(gateway, "eve", "grants", "revoke", grant_id, "--reason", "it is over")


@pytest.mark.parametrize(
    ("who", "more", "words"),
    [
        ("olga", ("--amount", "1 USD"), "olga is operator, and this takes approver"),
        ("cleo", ("--amount", "1 USD"), "cleo does not answer for the role finops"),
        ("red-lead@acme.example", ("--amount", "1 USD"), "is among those who ask for this"),
        ("eve", ("--amount", "1 USD", "--budget", "board"), "does not own the budget board: it is cfo's"),
        ("eve", ("--amount", "1 USD", "--budget", "al"), "There is no budget 'al'"),
        ("eve", ("--amount", "11 USD"), "takes two of finops"),
        ("eve", ("--amount", "1 USD", "--uses", "101"), "cannot have 101 uses"),
    ],
)
def test_grants_that_nobody_gets(gateway: GatewayProcess, who: str, more: tuple[str, ...], words: str) -> None:
    assert words in make(gateway, who, *more, fails=True)
    assert gateway.admin("GET", "/grants") == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (("grants", "make", "team", "red", *GIVEN), "'team' is not session, identity or task"),
        (("grants", "make", "identity", "agent/ant", *GIVEN, "--amount", "5 EUR"), 'write "50 USD"'),
        (("grants", "make", "identity", "agent/ant", *GIVEN, "--uses", "many"), "write a number, or any"),
        (("approvals", "approve", "apr_1", "--for", "soon", "--reason", "x"), "'soon' is not a duration"),
    ],
)
def test_what_a_command_does_not_understand_ends_with_2(
    gateway: GatewayProcess, line: tuple[str, ...], words: str
) -> None:
    done = gateway.command(*line, check=False)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())


def test_commands_about_tickets_that_are_not_there(gateway: GatewayProcess) -> None:
    assert act(gateway, "olga", "approvals") == "Nothing waits for an approval."
    assert act(gateway, "olga", "approvals", "list", "--json") == "[]"
    for line in (("show", "apr_1"), ("deny", "apr_1", "--reason", "x"), ("approve", "apr_1", "--reason", "x")):
        assert "There is no ticket 'apr_1'" in act(gateway, "ada", "approvals", *line, fails=True)
