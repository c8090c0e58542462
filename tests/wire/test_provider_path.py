"""Where providers have what a dialect asks for."""

import pytest

from comptroller.wire.provider_path import azure_path, versioned_path

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("version_path", "path"),
    [
        ("/v1", CHAT),
        ("", "/chat/completions"),
        ("/v4", "/v4/chat/completions"),
        ("/inference/v2", "/inference/v2/chat/completions"),
    ],
)
def test_another_version_stands_in_the_place_of_v1(version_path: str, path: str) -> None:
    assert versioned_path(CHAT, version_path) == path


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (CHAT, "/openai/deployments/prod-4o/chat/completions?api-version=2024-10-21"),
        ("/v1/embeddings", "/openai/deployments/prod-4o/embeddings?api-version=2024-10-21"),
        ("/v1/audio/transcriptions", "/openai/deployments/prod-4o/audio/transcriptions?api-version=2024-10-21"),
        ("/v1/responses", "/openai/responses?api-version=2024-10-21"),
        ("/v1/responses?include=a", "/openai/responses?api-version=2024-10-21&include=a"),
    ],
)
def test_azure_has_some_routes_below_a_deployment(path: str, found: str) -> None:
    assert azure_path(path, "prod-4o", "2024-10-21") == found


def test_a_deployment_s_name_stays_one_piece_of_the_path() -> None:
    assert "/deployments/..%2Fother%3Fa%3Db/" in azure_path(CHAT, "../other?a=b", "2024-10-21")
