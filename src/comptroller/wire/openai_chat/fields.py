"""The fields of a chat request that matter for money, as tables.

`SERVER_SIDE`: what makes a provider read, search or run something that the body does not hold.
`OTHER_NAMES`: fields by which some servers take what we write under its usual name; both at once would let
a caller override the output limit that was paid for.
"""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.wire.field_names import FieldNames, ServerSide

SEARCH = "web search"
_STORED = "a stored conversation"
_OTHER_MODEL = "another model than the one named"

SERVER_SIDE: Mapping[str, ServerSide] = {
    "web_search_options": ServerSide(SEARCH, "OpenAI's search models, Perplexity: results are input", fees=True),
    "web_search": ServerSide(SEARCH, "resellers' switch for the same", fees=True),
    "search_parameters": ServerSide("live search", "xAI: a fee per source, and the sources are input", fees=True),
    "plugins": ServerSide("plugins", "OpenRouter: web search, PDF reading", fees=True),
    "enable_search": ServerSide(SEARCH, "Alibaba Model Studio", fees=True),
    "enable_code_interpreter": ServerSide("a code interpreter", "Alibaba Model Studio", fees=True),
    "search_settings": ServerSide(SEARCH, "Groq's compound models", fees=True),
    "compound_custom": ServerSide("server-side tools", "Groq's compound models", fees=True),
    "connectors": ServerSide("connectors", "Cohere: retrieved documents are input", fees=True),
    "mcp_servers": ServerSide("MCP servers called by the provider", "several: tool results are input", fees=True),
    "data_sources": ServerSide("data sources", "Azure OpenAI: retrieved documents are input", fees=True),
    "models": ServerSide(_OTHER_MODEL, "OpenRouter: fallback models at their own prices", fees=True),
    "preset": ServerSide(_OTHER_MODEL, "OpenRouter: model, prompt and tools stored at the provider", fees=True),
    "provider": ServerSide("a choice of upstreams", "OpenRouter: each has its own prices", fees=True),
    "route": ServerSide("a choice of upstreams", "OpenRouter: fallbacks at their own prices", fees=True),
    "thinking_budget": ServerSide("thinking beside the output limit", "Alibaba: `max_tokens` is not on it", fees=True),
    "use_beam_search": ServerSide("a beam search", "vLLM: generates more than it returns", fees=True),
    "google": ServerSide("a cached prompt", "Gemini's OpenAI route, as in `extra_body`", fees=False),
    "extra_body": ServerSide("a cached prompt", "Gemini's OpenAI route: `cached_content` is input", fees=False),
    "cached_content": ServerSide("a cached prompt", "Gemini's OpenAI route", fees=False),
    "previous_response_id": ServerSide(_STORED, "several: the stored turns are input", fees=False),
    "conversation": ServerSide(_STORED, "several", fees=False),
    "safe_prompt": ServerSide("a safety prompt", "Mistral: put before the messages", fees=False),
    "chat_template": ServerSide("a prompt template", "vLLM, SGLang: can repeat the messages at will", fees=False),
}

# Not there: OpenRouter's `transforms`, which only leaves messages out.

OTHER_NAMES: Mapping[str, str] = {
    "n_predict": "max_completion_tokens",  # llama.cpp: stands above max_tokens
    "max_new_tokens": "max_completion_tokens",  # text-generation servers
    "max_length": "max_completion_tokens",
    "max_gen_toks": "max_completion_tokens",
    "max_output_tokens": "max_completion_tokens",
    "num_predict": "max_completion_tokens",
    "best_of": "n",  # vLLM: generated and not all returned
    "n_cmpl": "n",  # llama.cpp
}

# Fields that request.py reads itself, and those that hold text, numbers or switches and never lead out of the body.
_PLAIN = frozenset(
    {
        *("model", "messages", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens"),
        *("service_tier", "tools", "prediction", "modalities", "audio", "cache_control"),
        *("frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "metadata", "moderation"),
        *("parallel_tool_calls", "presence_penalty", "prompt_cache_key", "prompt_cache_options"),
        *("prompt_cache_retention", "reasoning_effort", "response_format", "safety_identifier", "seed", "stop"),
        *("store", "temperature", "tool_choice", "top_logprobs", "top_p", "user", "verbosity"),
    }
)
FIELDS = FieldNames(_PLAIN, SERVER_SIDE, OTHER_NAMES)


def searches(model: str) -> bool:
    """Whether a model's name itself turns a web search on, as OpenRouter's `:online` does."""
    return "online" in model.casefold().split(":")[1:]
