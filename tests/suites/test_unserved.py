"""What SDKs of today can ask for and the gateway does not serve is refused in their own words, and nobody is asked."""

from collections.abc import Callable, Iterator

import openai
import pytest
from openai import OpenAI

from tests.end_to_end.caller import ask
from tests.harness import configuration
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

OF_OPENAI: dict[str, Callable[[OpenAI], object]] = {
    "GET /v1/evals": lambda client: client.evals.list(),
    "GET /v1/fine_tuning/jobs": lambda client: client.fine_tuning.jobs.list(),
    "POST /v1/fine_tuning/jobs": lambda client: client.fine_tuning.jobs.create(model="a", training_file="b"),
    "POST /v1/realtime/client_secrets": lambda client: client.realtime.client_secrets.create(),
    "POST /v1/uploads": lambda client: client.uploads.create(
        bytes=1, filename="a", mime_type="text/plain", purpose="batch"
    ),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, SandboxProcess]]:
    folder = tmp_path_factory.mktemp("unserved")
    with SandboxProcess() as sandbox:
        process = configuration.process(sandbox.url)
        with GatewayProcess(folder, process, configuration.registry()) as gateway:
            yield gateway, sandbox


def test_openai_s_is_refused_as_a_route_that_there_is_not(world: tuple[GatewayProcess, SandboxProcess]) -> None:
    gateway, sandbox = world
    with OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.token("agent/ant"), max_retries=0) as client:
        for route, call in OF_OPENAI.items():
            with pytest.raises(openai.NotFoundError) as refused:
                call(client)
            assert refused.value.code == "route_unknown", route
            assert route.partition(" ")[2] in refused.value.message, route
    assert sandbox.count() == 0


def test_a_header_of_an_api_that_has_the_path_and_is_not_served_is_enough(
    world: tuple[GatewayProcess, SandboxProcess],
) -> None:
    gateway, _ = world
    credential = gateway.token("agent/ant")
    answer = ask(gateway, credential, path="/v1/files", method="GET", headers={"x-goog-api-key": credential})
    assert (answer.status, b"route_unknown" in answer.body) == (404, True)
