"""The fields of a Gemini request that matter for money, as tables.

`SERVER_SIDE` and `CONFIG_SWITCHES`: what makes a provider read, run or ask something that the body does not hold.
`OTHER_LIMITS`: names by which other APIs limit output; next to ours one of them could override what was paid for.

Sources, read in November 2026: the Gemini API reference; the google-genai SDK's types; Vertex AI's reference.
"""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.wire.field_names import ServerSide
from comptroller.wire.gemini.names import Names

_OTHER_MODEL = "another model than the one named"

SERVER_SIDE: Mapping[str, ServerSide] = {
    "modelArmorConfig": ServerSide("a check by Model Armor", "Vertex AI: billed by its own tokens", fees=True),
}
CONFIG_SWITCHES: Mapping[str, ServerSide] = {
    "routingConfig": ServerSide(_OTHER_MODEL, "Vertex AI: chosen at the provider", fees=True),
    "modelSelectionConfig": ServerSide(_OTHER_MODEL, "Vertex AI: chosen at the provider", fees=True),
}

# Folded: without underscores, in lower case.
OTHER_LIMITS = frozenset({"maxtokens", "maxcompletiontokens", "maxnewtokens", "maxlength", "numpredict"})
CONFIG_LIMITS = frozenset({"maxoutputtokens", "candidatecount"})  # they bind in `generationConfig` alone

REQUEST = Names(
    {
        *("contents", "systemInstruction", "tools", "toolConfig", "safetySettings", "generationConfig"),
        *("serviceTier", "store", "labels", "model", "cachedContent"),
        *SERVER_SIDE,
    }
)
CONFIG = Names(
    {
        *("maxOutputTokens", "candidateCount", "stopSequences", "temperature", "topP", "topK", "seed"),
        *("presencePenalty", "frequencyPenalty", "responseLogprobs", "logprobs", "enableEnhancedCivicAnswers"),
        *("responseMimeType", "responseSchema", "responseJsonSchema", "responseFormat", "responseModalities"),
        "_responseJsonSchema",
        *("speechConfig", "thinkingConfig", "imageConfig", "mediaResolution", "audioTimestamp"),
        *CONFIG_SWITCHES,
    }
)
THINKING = Names({"thinkingBudget", "thinkingLevel", "includeThoughts"})
COUNT = Names({"contents", "generateContentRequest", "model"})
EMBED = Names({"content", "taskType", "title", "outputDimensionality", "autoTruncate", "model"})
EMBED_BATCH = Names({"requests", "model"})

# The keys of an entry of `tools`. What runs at the caller's is free; nothing bounds how often a tool of the
# provider's reads the context again, nor what it adds to it (seen: 15 tokens of prompt, 4,610 by a tool).
OWN_TOOLS = "functionDeclarations"
COMPUTER_USE = "computerUse"  # runs at the caller's, and its definitions are the provider's
FILE_SEARCH = "fileSearch"
SEARCH = Names({"fileSearchStoreNames", "metadataFilter", "topK"})
TOOLS = Names(
    {
        *(OWN_TOOLS, COMPUTER_USE, "googleSearch", "googleSearchRetrieval", "codeExecution", "urlContext"),
        *("googleMaps", FILE_SEARCH, "retrieval", "enterpriseWebSearch", "mcpServers"),
    }
)
