"""Clients of the official packages, for the gateway: its address, the session's credential, and no needless retries.

The credential is asked for at each request, so a run may last longer than one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from comptroller.client.credential import Credential

if TYPE_CHECKING:
    from anthropic import Anthropic, AsyncAnthropic
    from openai import AsyncOpenAI, OpenAI

RETRIES = 1
"""Each try is a call that may be charged. What waiting cannot mend is not tried again at all: the answer says so."""


def openai(url: str, credential: Credential, options: Mapping[str, Any]) -> OpenAI:
    """openai.OpenAI. Its errors are its own; `Refused.of` reads them."""
    import openai as package

    return package.OpenAI(**_with_retries(options), base_url=f"{url}/v1", api_key=credential.get)


def async_openai(url: str, credential: Credential, options: Mapping[str, Any]) -> AsyncOpenAI:
    """openai.AsyncOpenAI."""
    import openai as package

    async def key() -> str:
        return await _get(credential)

    return package.AsyncOpenAI(**_with_retries(options), base_url=f"{url}/v1", api_key=key)


def anthropic(url: str, credential: Credential, options: Mapping[str, Any]) -> Anthropic:
    """anthropic.Anthropic."""
    import anthropic as package

    class Client(package.Anthropic):
        def _prepare_request(self, request: Any) -> None:
            _authorize(request, credential.get())

    return Client(**_with_retries(options), base_url=url, auth_token=credential.issued.credential)


def async_anthropic(url: str, credential: Credential, options: Mapping[str, Any]) -> AsyncAnthropic:
    """anthropic.AsyncAnthropic."""
    import anthropic as package

    class Client(package.AsyncAnthropic):
        async def _prepare_request(self, request: Any) -> None:
            _authorize(request, await _get(credential))

    return Client(**_with_retries(options), base_url=url, auth_token=credential.issued.credential)


def _with_retries(options: Mapping[str, Any]) -> dict[str, Any]:
    return {"max_retries": RETRIES, **options}


async def _get(credential: Credential) -> str:
    """It waits for the network only where it must, and then in a thread."""
    return await asyncio.to_thread(credential.get) if credential.due else credential.get()


def _authorize(request: Any, credential: str) -> None:
    """In one slot: an ANTHROPIC_API_KEY of the environment would stand beside it in another."""
    request.headers["authorization"] = f"Bearer {credential}"
    request.headers.pop("x-api-key", None)
