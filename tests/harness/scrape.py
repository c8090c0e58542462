"""What a scraper of /metrics sees."""

import http.client
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from tests.harness.gateway import GatewayProcess

# What Prometheus 3 sends.
ACCEPT = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


class Page(NamedTuple):
    status: int
    kind: str
    text: str

    @property
    def families(self) -> list[Metric]:
        """The page as the official parser of its format reads it."""
        read = read_openmetrics if self.kind.startswith("application/openmetrics-text") else read_text
        return list(read(self.text))

    @property
    def samples(self) -> "Samples":
        return Samples(sample for family in self.families for sample in family.samples)


class Samples(list[Any]):
    """Every sample of a page."""

    def __init__(self, samples: Iterable[Any]) -> None:
        super().__init__(samples)

    def of(self, name: str, **labels: str) -> list[Any]:
        return [one for one in self if one.name == name and labels.items() <= one.labels.items()]

    def total(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name with these labels."""
        return sum(one.value for one in self.of(name, **labels))

    def by(self, name: str, label: str, **labels: str) -> Mapping[str, float]:
        """The sums by one label."""
        found: dict[str, float] = {}
        for one in self.of(name, **labels):
            found[one.labels[label]] = found.get(one.labels[label], 0) + one.value
        return found


def scrape(
    gateway: GatewayProcess,
    *,
    path: str = "/metrics",
    credential: str | None = None,
    accept: str = ACCEPT,
    method: str = "GET",
) -> Page:
    """The page as a scraper gets it; with the admin credential unless another is given ("" for none)."""
    token = gateway.admin_token() if credential is None else credential
    headers = {"Accept": accept} | ({"Authorization": f"Bearer {token}"} if token else {})
    connection = http.client.HTTPConnection("127.0.0.1", gateway.admin_port, timeout=60)
    try:
        connection.request(method, path, headers=headers)
        with connection.getresponse() as response:
            return Page(response.status, response.headers["content-type"], response.read().decode())
    finally:
        connection.close()
