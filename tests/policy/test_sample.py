"""The policies that `comptroller demo` begins with."""

import tomllib
from importlib import resources
from pathlib import Path

from comptroller.cli.golden import decide_all, read_golden
from comptroller.cli.policy_files import Found, load_or_fail
from comptroller.core.registry.document import read_document
from comptroller.core.registry.entries import Document
from comptroller.core.registry.policy_files import targets_of


def test_the_sample_is_right(tmp_path: Path) -> None:
    sample = resources.files("comptroller").joinpath("sample")
    document = read_document(tomllib.loads(sample.joinpath("registry.toml").read_text()))
    assert isinstance(document, Document)
    text = sample.joinpath("policies", "sample.cedar").read_text()
    (tmp_path / "golden.toml").write_text(sample.joinpath("policies", "golden.toml").read_text())
    files = Found({"sample.cedar": text}, document, targets_of(document.entries))
    results = decide_all(load_or_fail(files), files, read_golden(tmp_path / "golden.toml"))
    assert len(results) >= 3
    assert all(result.passed for result in results)
