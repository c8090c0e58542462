"""The bootstrap credential: made once, for its owner alone, and told apart from everything else."""

import re
import stat
from pathlib import Path

import pytest

from comptroller.store.admin_token import FILE_NAME, open_admin_token, read_admin_token
from comptroller.store.secret_file import SecretFileError, create_secret, replace_secret


def test_it_is_made_once_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "state"
    open_admin_token(folder)
    token = read_admin_token(folder)
    assert re.fullmatch(r"cptradm_[A-Za-z0-9_-]{43}", token)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / FILE_NAME).stat().st_mode) == 0o600
    assert open_admin_token(folder).matches(token)
    assert read_admin_token(folder) == token


def test_two_folders_have_two(tmp_path: Path) -> None:
    first = open_admin_token(tmp_path / "a")
    open_admin_token(tmp_path / "b")
    assert not first.matches(read_admin_token(tmp_path / "b"))


def test_nothing_else_matches(tmp_path: Path) -> None:
    known = open_admin_token(tmp_path)
    token = read_admin_token(tmp_path)
    others = [
        "",
        "cptradm_",
        token[:-1],
        token + "A",
        token.upper(),
        f" {token}",
        f"{token}\n",
        "\ud800",
        "\u0410" * 51,
    ]
    assert not [other for other in others if known.matches(other)]
    assert token not in repr(known)
    assert token not in repr(vars(known))


@pytest.mark.parametrize("content", ["", "password", "cptradm_short", "cptr_" + "x" * 46, "cptradm_" + "\u00e9" * 43])
def test_a_file_with_something_else_is_not_taken(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content, encoding="utf-8")
    (tmp_path / FILE_NAME).chmod(0o600)
    with pytest.raises(SecretFileError, match="does not hold an admin credential"):
        open_admin_token(tmp_path)


def test_one_that_everyone_can_read_is_not_trusted(tmp_path: Path) -> None:
    open_admin_token(tmp_path)
    (tmp_path / FILE_NAME).chmod(0o604)
    with pytest.raises(SecretFileError, match="open to everyone"):
        open_admin_token(tmp_path)


def test_a_missing_one_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(SecretFileError, match="start the gateway once"):
        read_admin_token(tmp_path)


def test_a_secret_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    assert create_secret(path, b"first")
    assert not create_secret(path, b"second")
    assert path.read_bytes() == b"first"
    replace_secret(path, b"third")
    assert path.read_bytes() == b"third"
    assert [found.name for found in tmp_path.iterdir()] == ["secret"]
