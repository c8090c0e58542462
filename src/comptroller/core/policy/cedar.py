"""The border to Cedar: the one schema, and the calls that we make of the engine, with their types.

The text of the schema is `schema.cedarschema`, so that editors and other tools can read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pkgutil import get_data

import cedarpy
from cedarpy import AuthzResult, Entities, PolicySet, Schema

_TEXT = get_data("comptroller.core.policy", "schema.cedarschema")  # a part of the program, as a module is
if _TEXT is None:
    raise ImportError("schema.cedarschema is not there: the installation is not whole")

SCHEMA_TEXT = _TEXT.decode()
_SCHEMA = Schema.from_str(SCHEMA_TEXT)

UNFILLED = frozenset({"spend_velocity_nanos"})
"""Values of the context that nothing can fill yet: a policy on one would never bind, so it is refused."""


def authorize(request: dict[str, object], policies: PolicySet, entities: Entities) -> AuthzResult:
    """Ask Cedar. The policies are parsed ones: a text would be parsed anew each time."""
    return cedarpy.is_authorized(request, policies, entities, _SCHEMA)  # pyright: ignore[reportUnknownMemberType]


def parse_entities(document: str) -> Entities:
    """Entities from JSON, checked against the schema: without it an allow can silently become a deny.

    Raises ValueError.
    """
    return Entities.from_json_str(document, _SCHEMA)  # pyright: ignore[reportUnknownMemberType]


def without_conditions(policies: PolicySet) -> PolicySet:
    """The same policies, about the same callers and models, whatever is asked."""
    written = policies.to_pst()
    bare = {name: replace(policy, clauses=()) for name, policy in written.static_policies.items()}
    return PolicySet.from_pst(replace(written, static_policies=bare))


def faults_of(policy: str) -> Sequence[str]:
    """What the schema does not allow in the text of a policy; nothing if it is valid."""
    checked = cedarpy.validate_policies(policy, _SCHEMA)  # pyright: ignore[reportUnknownMemberType]
    said = list(dict.fromkeys(each.error for each in checked.errors))
    return said if said or checked.validation_passed else ["it is not valid"]
