"""What every test shares: nothing but a clean environment and a way to run `async def` tests."""

import os

import pytest
from hypothesis import settings

# No test may see, spend or print a real key, or follow settings of the person who runs it.
for name in [name for name in os.environ if name.endswith("_API_KEY") or name.startswith("COMPTROLLER_")]:
    del os.environ[name]
# Loopback is never reached through somebody's proxy.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"

# A slow machine is not a failure. Where CI is set, hypothesis takes its own profile, which repeats itself exactly.
settings.register_profile("local", deadline=None, print_blob=True)
if not os.environ.get("CI"):
    settings.load_profile("local")


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop that the gateway runs on."""
    return "asyncio", {"use_uvloop": True}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--admin-fuzz-s", type=int, metavar="SECONDS", help="let schemathesis ask the admin plane for so long"
    )
