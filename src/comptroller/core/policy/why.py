"""Why: how each policy stands towards one request, for a person who asks why not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from cedarpy import PolicySet

from comptroller.core.policy.cedar import authorize, without_conditions
from comptroller.core.policy.policies import Policies
from comptroller.core.policy.request import PolicyRequest, cedar_request, entities
from comptroller.core.policy.verdict import Policy

Bearing = Literal["holds", "conditions", "scope", "error"]

BEARINGS: dict[Bearing, str] = {
    "holds": "it holds",
    "conditions": "it is about this call, and its conditions do not hold",
    "scope": "it is about other calls",
    "error": "it cannot be evaluated, so the call is denied",
}


class Standing(msgspec.Struct, frozen=True):
    """One policy towards one request."""

    policy: Policy
    bearing: Bearing
    detail: str = ""


def standings(policies: Policies, request: PolicyRequest) -> Sequence[Standing]:
    """Every policy by itself, in the order of the files. Far dearer than a decision."""
    return [_standing(policy, request) for policy in policies.policies]


def _standing(policy: Policy, request: PolicyRequest) -> Standing:
    asked, who_and_what = cedar_request(request), entities(request.principal, request.resource)
    alone = PolicySet.from_str(policy.text)
    found = authorize(asked, alone, who_and_what).diagnostics
    if found.errors:
        return Standing(policy, "error", found.errors[0].replace("`policy0`", f"`{policy.id}`"))
    if found.reasons:
        return Standing(policy, "holds")
    in_scope = authorize(asked, without_conditions(alone), who_and_what)
    return Standing(policy, "conditions" if in_scope.diagnostics.reasons else "scope")
