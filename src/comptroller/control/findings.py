"""Findings: what a person should look at."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from comptroller.control.office import Office
from comptroller.core.instant import format_instant
from comptroller.flow.records import Finding

FINDINGS_SHOWN = 100


class FindingRow(msgspec.Struct, frozen=True):
    at: str
    code: str
    call: str | None
    subject: str
    sentence: str


async def list_findings(office: Office, limit: int = FINDINGS_SHOWN) -> Sequence[FindingRow]:
    """Newest first."""
    await office.catch_up()
    return [finding_row(finding) for finding in await office.ledger.findings(limit)]


def finding_row(finding: Finding) -> FindingRow:
    return FindingRow(format_instant(finding.at_ns), finding.code, finding.call_id, finding.subject, finding.sentence)
