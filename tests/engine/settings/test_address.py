"""Addresses and keys: what is refused, and what is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdl_engine.core.errors import SettingsError
from qdl_engine.settings.address import Secret, is_local, read_key, server_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://localhost:8000/", "http://localhost:8000/v1"),
        (" http://localhost:8000/v1/ ", "http://localhost:8000/v1"),
        ("https://h.example/v1/chat/completions", "https://h.example/v1"),
        ("https://h.example/compatible-mode/v1", "https://h.example/compatible-mode/v1"),
        ("http://[::1]:8080", "http://[::1]:8080/v1"),
    ],
)
def test_addresses(text: str, url: str) -> None:
    assert server_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost:8000",
        "ftp://h/v1",
        "file:///etc/passwd",
        "http://",
        "http://h:99999",
        "http://h/v1?a=b",
    ],
)
def test_refused_addresses(text: str) -> None:
    with pytest.raises(SettingsError, match=r"teacher\.url") as caught:
        server_url(text)
    assert "http" in caught.value.hint or "?" in caught.value.hint


def test_an_address_with_a_password_is_refused_and_not_quoted() -> None:
    with pytest.raises(SettingsError, match="user name or password") as caught:
        server_url("https://me:hunter2@h.example/v1")
    assert "hunter2" not in str(caught.value)


def test_local_addresses() -> None:
    assert all(map(is_local, ["http://localhost:1/v1", "http://127.0.0.1/v1", "http://[::1]:1/v1"]))
    assert not any(map(is_local, ["http://10.0.0.1/v1", "https://h.example/v1"]))


def test_a_secret_is_stars() -> None:
    secret = Secret("sk-abc")
    assert "sk-abc" not in f"{secret} {secret!r} {[secret]}"
    assert secret.mask("key sk-abc is wrong") == "key *** is wrong"
    assert Secret().mask("as it is") == "as it is" and not Secret()


class TestKeys:
    def test_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MY_KEY", " sk-1 \n")
        assert read_key("MY_KEY", "").value == "sk-1"
        monkeypatch.delenv("MY_KEY")
        with pytest.raises(SettingsError, match="MY_KEY is not set"):
            read_key("MY_KEY", "")

    def test_a_key_in_place_of_its_variable_is_not_quoted(self) -> None:
        with pytest.raises(SettingsError, match="api_key_env") as caught:
            read_key("sk-secret-1", "")
        assert "sk-secret" not in str(caught.value)

    def test_from_a_file_that_only_its_owner_reads(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        path.write_text("sk-2\n")
        path.chmod(0o644)
        with pytest.raises(SettingsError, match="Others can read") as caught:
            read_key("", str(path))
        assert f"chmod 600 {path}" in caught.value.hint
        path.chmod(0o600)
        assert read_key("", str(path)).value == "sk-2"

    @pytest.mark.parametrize("text", ["", "two words", "line\nbreak", "schlüssel"])
    def test_what_is_no_key(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "key"
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(SettingsError) as caught:
            read_key("", str(path))
        assert not text or text not in str(caught.value)

    def test_no_file_and_no_key(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="Cannot read the key"):
            read_key("", str(tmp_path / "none"))
        assert not read_key("", "")
