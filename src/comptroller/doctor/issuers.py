"""Trusted issuers: can their keys be had, the way that the registry says? What the doctor asks is public."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from comptroller.control.interfaces import RegistryState
from comptroller.control.issuer_keys import IssuerKeys
from comptroller.core.identity.federation import TrustedIssuer, Untrusted
from comptroller.core.registry.build import build
from comptroller.doctor.check import Check, ok, warn
from comptroller.gateway.egress import Egress


async def check_issuers(state: RegistryState | None, folder: Path) -> Sequence[Check]:
    """Every issuer that is installed. `folder`: that of the registry file, where paths of key files begin."""
    if state is None or state.version == 0:
        return []
    egress = Egress()
    keys = IssuerKeys(egress, folder)
    try:
        found = build(state.entries, state.version).federation.issuers.values()
        return [await _reach(keys, issuer) for issuer in found]
    finally:
        await egress.close()


async def _reach(keys: IssuerKeys, issuer: TrustedIssuer) -> Check:
    name = f"issuers.{issuer.name}"
    why = await keys.key(issuer, "")  # whether it has such a key does not matter: whether it has any does
    if isinstance(why, Untrusted) and why.code == "issuer_unavailable":
        hint = "Check `url`, `keys` and `private_network` of the issuer: until then its tokens open no session."
        return warn(name, f"{why.sentence.removesuffix(' now.')}: {why.why}.", hint)
    return ok(name, f"The keys of {issuer.url} can be had.")
