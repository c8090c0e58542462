"""What the gateway refuses although the provider's API has it, and why: all that may differ between the two runs."""

from tests.suites.outcome import Design

DESIGNS = (
    Design(
        "route_unknown",
        "*",
        "the gateway has no such route: what it cannot bound, police and charge has no way through",
    ),
)
