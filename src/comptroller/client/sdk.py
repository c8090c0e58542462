"""Clients of the official packages, for the gateway: its address, the session's credential, and no needless retries.

The credential is asked for at each request, so a run may last longer than one. A proxy of the environment is not asked
for a gateway on this machine: it would be handed the credential.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from comptroller.client.credential import Credential
from comptroller.client.gateway import is_here

if TYPE_CHECKING:
    from anthropic import Anthropic, AsyncAnthropic
    from google.genai import Client as Gemini
    from openai import AsyncOpenAI, OpenAI

RETRIES = 1
"""Each try is a call that may be charged. What waiting cannot mend is not tried again at all: the answer says so."""


def openai(url: str, credential: Credential, options: Mapping[str, Any]) -> OpenAI:
    """openai.OpenAI. Its errors are its own; `Refused.of` reads them."""
    import openai as package

    given = {**_connecting(url, package.DefaultHttpxClient), **options}
    return package.OpenAI(**given, base_url=f"{url}/v1", api_key=credential.get)


def async_openai(url: str, credential: Credential, options: Mapping[str, Any]) -> AsyncOpenAI:
    """openai.AsyncOpenAI."""
    import openai as package

    async def key() -> str:
        return await _get(credential)

    given = {**_connecting(url, package.DefaultAsyncHttpxClient), **options}
    return package.AsyncOpenAI(**given, base_url=f"{url}/v1", api_key=key)


def anthropic(url: str, credential: Credential, options: Mapping[str, Any]) -> Anthropic:
    """anthropic.Anthropic."""
    import anthropic as package

    class Client(package.Anthropic):
        def _prepare_request(self, request: Any) -> None:
            _authorize(request, credential.get())

    given = {**_connecting(url, package.DefaultHttpxClient), **options}
    return Client(**given, base_url=url, auth_token=credential.issued.credential)


def async_anthropic(url: str, credential: Credential, options: Mapping[str, Any]) -> AsyncAnthropic:
    """anthropic.AsyncAnthropic."""
    import anthropic as package

    class Client(package.AsyncAnthropic):
        async def _prepare_request(self, request: Any) -> None:
            _authorize(request, await _get(credential))

    given = {**_connecting(url, package.DefaultAsyncHttpxClient), **options}
    return Client(**given, base_url=url, auth_token=credential.issued.credential)


def gemini(url: str, credential: Credential, options: Mapping[str, Any]) -> Gemini:
    """google.genai.Client, whose `aio` does not wait. `options` are `types.HttpOptions` without the address."""
    import google.genai as package

    def authorize(request: Any) -> None:
        request.headers["x-goog-api-key"] = credential.get()

    async def authorize_without_waiting(request: Any) -> None:
        request.headers["x-goog-api-key"] = await _get(credential)

    direct = _direct(url)
    http_options: Any = {
        "retry_options": {"attempts": 1 + RETRIES},
        **options,
        "base_url": url,
        "client_args": {"event_hooks": {"request": [authorize]}, **direct},
        "async_client_args": {"event_hooks": {"request": [authorize_without_waiting]}, **direct, **_hooked()},
    }
    return package.Client(api_key=credential.issued.credential, vertexai=False, http_options=http_options)


def _connecting(url: str, client: Any) -> dict[str, Any]:
    """What OpenAI's and Anthropic's clients are made with unless their user says otherwise."""
    direct = _direct(url)
    if not direct:
        return {"max_retries": RETRIES}

    class Client(client):
        def __del__(self) -> None:
            # As the packages' own do that nobody closed. Without waiting there is nothing to be done here.
            if not self.is_closed and hasattr(self, "close"):
                self.close()

    return {"max_retries": RETRIES, "http_client": Client(**direct)}


def _direct(url: str) -> dict[str, Any]:
    """The way past the environment's proxies, for a gateway on this machine; certificates stay the environment's."""
    parts = urlsplit(url)
    return {"mounts": {f"{parts.scheme}://": None}} if is_here(parts.hostname or "") else {}


def _hooked() -> dict[str, Any]:
    """Google's package takes aiohttp where that is there, which has no hook for a credential: not with this."""
    if not find_spec("aiohttp"):
        return {}
    package = import_module("httpx2" if find_spec("httpx2") else "httpx")
    return {"transport": package.AsyncHTTPTransport()}


async def _get(credential: Credential) -> str:
    """It waits for the network only where it must, and then in a thread."""
    return await asyncio.to_thread(credential.get) if credential.due else credential.get()


def _authorize(request: Any, credential: str) -> None:
    """In one slot: an ANTHROPIC_API_KEY of the environment would stand beside it in another."""
    request.headers["authorization"] = f"Bearer {credential}"
    request.headers.pop("x-api-key", None)
