"""Sessions and trees of sessions as rules of loops see them: steps go in, and what is done about each comes out."""

from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import Literal

from comptroller.core.detection.loop_answer import Loop, judge, refused
from comptroller.core.detection.loop_rule import LoopRule
from comptroller.core.detection.loops import Rally, Trail, fingerprint
from comptroller.core.work.outline import Step, ToolUse

Heard = Literal["", "warn", "slow", "refuse"]
RULE = LoopRule("agents", {"kind": ("agent",)})


def said(text: str) -> Step:
    """A user says this."""
    return Step("user", text)


def told(tool: str, arguments: str, text: str, *, failed: bool = False) -> Step:
    """A tool that was called with these arguments answers this."""
    return Step("tool", text, (ToolUse(tool, arguments, failed),))


class Session:
    """One session: every step that is let through is answered."""

    def __init__(self, rule: LoopRule = RULE, *, rally: Rally | None = None, actor: str = "agent/ant") -> None:
        self.rule, self.trail, self.rally, self.actor = rule, Trail(), rally, actor
        self.calls = 0
        self.last: Loop | None = None

    def take(self, step: Step, *, charge_nanos: int = 1_000, output_tokens: int = 50) -> Heard:
        """What is heard about this step, which is taken unless it is refused."""
        mark = fingerprint(step, self.rule)
        if mark is None:
            return ""
        found = self.last = judge(self.trail, self.rally, self.actor, mark, self.rule)
        if found is not None and found.stage == "refuse":
            refused(self.trail, self.rally, found)
            return "refuse"
        self.calls += 1
        counts = self.trail.begin(mark)
        call = f"call_{self.calls}"
        self.trail.end(mark, call, counts=counts, charge_nanos=charge_nanos, output_tokens=output_tokens)
        if self.rally is not None and counts:
            self.rally.note(self.actor, mark)
        return "" if found is None else found.stage

    def all(self, steps: Iterable[Step]) -> list[Heard]:
        return [self.take(step) for step in steps]


def counted(heard: Iterable[Heard]) -> Counter[Heard]:
    return Counter(heard)


_WORDS = (
    "invoice customer refund ledger contract renewal shipment delay warehouse order parcel broken screen battery "
    "charger password login account locked email address phone number country region tax rate discount coupon "
    "code cart checkout payment card bank transfer receipt total amount balance statement report quarter month "
    "week forecast plan team meeting notes agenda action owner deadline risk issue bug crash log trace stack "
    "error fix patch release branch merge review comment test build deploy server database index query table "
    "column row schema migration cache memory disk network latency timeout retry queue worker job schedule cron "
    "event message topic consumer producer partition offset weather travel hotel flight train ticket museum "
    "recipe garlic onion pepper pasta rice soup bread butter cheese wine "
).split()


def prose(random: Random, least: int, most: int) -> str:
    return " ".join(random.choice(_WORDS) for _ in range(random.randint(least, most)))


_INSTRUCTION = (
    "You sort messages of customers. Read the message below and answer with exactly one of these labels: refund, "
    "delivery, account, payment, other. Do not explain yourself and do not add anything. If two labels fit take the "
    "one that comes first in the list. Messages may hold names, numbers of orders and addresses, which do not matter. "
    "Sarcasm counts as what is meant and not as what is said. A message in another language is sorted as if it were "
    "translated first. An empty message is other. Message: "
)
_GREETINGS = ("hi", "hello", "good morning", "thanks", "yes", "ok", "continue", "no, thank you")


def template_bot(random: Random) -> list[Step]:
    """A service that asks the same long question about something else each time."""
    return [said(_INSTRUCTION + prose(random, 4, 60)) for _ in range(random.randint(20, 60))]


def number_bot(random: Random) -> list[Step]:
    """The same, and only numbers or ids are different."""
    ask = random.choice(["Score this transfer of {} to account {}: ", "Summarise ticket {} of customer {}: "])
    return [said(ask.format(random.randint(1, 10**6), f"{random.getrandbits(64):016x}")) for _ in range(40)]


def chat(random: Random) -> list[Step]:
    """A session in which many people talk: some of what they say is the same, and short."""
    return [
        said(random.choice(_GREETINGS) if random.random() < 0.3 else prose(random, 2, 40))
        for _ in range(random.randint(20, 80))
    ]


def coding(random: Random) -> list[Step]:
    """Read, edit, test, and the test fails with the same error for a while."""
    steps = [said(prose(random, 10, 80))]
    for turn in range(random.randint(5, 20)):
        steps.append(told("read", f'{{"path":"src/{random.choice(_WORDS)}_{turn}.py"}}', prose(random, 50, 400)))
        steps.append(told("edit", f'{{"path":"src/a.py","line":{turn},"text":"{prose(random, 3, 9)}"}}', "done"))
        steps.append(told("test", '{"path":"tests"}', "Error: 1 failed in 0.53s: test_a", failed=random.random() < 0.9))
    return steps


def batch(random: Random) -> list[Step]:
    """The same tool for one thing after the other: always `ok`."""
    tool = random.choice(["close_ticket", "send_mail", "update_row"])
    return [
        told(tool, f'{{"id":"{random.getrandbits(64):016x}","n":{turn}}}', '{"status":"ok"}')
        for turn in range(random.randint(10, 40))
    ]


def paging(random: Random) -> list[Step]:
    """One page after the other, and a job that gets on."""
    pages = [told("list", f'{{"page":{page}}}', prose(random, 30, 90)) for page in range(random.randint(5, 30))]
    return [*pages, *(told("job", '{"id":7}', f"running: {done} of 100 done") for done in range(0, 100, 7))]


def research(random: Random) -> list[Step]:
    """Searching, with a failure now and then, and a second try that helps."""
    steps: list[Step] = []
    for _ in range(random.randint(10, 30)):
        asked = f'{{"query":"{prose(random, 2, 6)}"}}'
        if random.random() < 0.2:
            steps.append(told("search", asked, "429 Too Many Requests", failed=True))
        steps.append(told("search", asked, prose(random, 40, 120)))
    return steps


NORMAL = (template_bot, number_bot, chat, coding, batch, paging, research)
