"""Where a provider has what a dialect asks for: most as the dialect says it, some elsewhere."""

from __future__ import annotations

from urllib.parse import quote

_VERSION = "/v1"  # that every path of a dialect of OpenAI begins with

# What Azure has below a deployment; everything else stands beside the deployments, and names one in its body.
# (Azure OpenAI REST API reference, data plane inference.)
_DEPLOYED = frozenset(
    {
        "/chat/completions",
        "/completions",
        "/embeddings",
        "/images/generations",
        "/images/edits",
        "/audio/speech",
        "/audio/transcriptions",
        "/audio/translations",
    }
)


def versioned_path(path: str, version_path: str) -> str:
    """The path of a server that has its routes below another version than /v1, or below none."""
    return path if version_path == _VERSION else version_path + path.removeprefix(_VERSION)


def azure_path(path: str, deployment: str, api_version: str) -> str:
    """The path of a route of Azure OpenAI that has a deployment and an api-version in it."""
    route, _, query = path.removeprefix(_VERSION).partition("?")
    below = f"/deployments/{quote(deployment, safe='')}" if route in _DEPLOYED else ""
    more = f"&{query}" if query else ""
    return f"/openai{below}{route}?api-version={quote(api_version, safe='')}{more}"
