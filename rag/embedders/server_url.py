"""Addresses and keys of OpenAI-compatible servers, checked before anything is sent to them."""

from __future__ import annotations

import httpx

from hoptrail.rag.errors import SettingsError

_REMEDY = "write http://HOST:PORT/v1"


def server_url(url: str, *, key_option: str) -> str:
    """The address of a server without white space around it and slashes at its end.

    `key_option`: the command line's option for a key, which a password in the address is not.

    Raises:
        SettingsError: it is no http address, or holds a password, query or fragment.
    """
    try:
        parsed = httpx.URL(url.strip())
    except (httpx.InvalidURL, UnicodeEncodeError) as error:
        # httpx quotes what it stumbled over, which may be a part of a password.
        why = _REMEDY if "@" in url else f"{error}"
        raise SettingsError(
            f"{without_password(url)!r} is no address of a server: {why}."
        ) from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise SettingsError(f"{without_password(url)!r} is no address of a server: {_REMEDY}.")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise SettingsError(
            f"The address of the server at {parsed.host!r} must hold no password, query or "
            f"fragment. Write the key into a file and name it: {key_option} FILE (api_key= in "
            "Python)."
        )
    return str(parsed).rstrip("/")


def check_api_key(api_key: str | None) -> None:
    """Raises SettingsError for a key that cannot be sent in a header."""
    if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
        raise SettingsError(
            "The API key has spaces, line ends or non-ASCII characters: copy it again."
        )


def without_password(url: str) -> str:
    """An address as it may be shown: whatever stands before an @ may be a name and a password."""
    return "…" + url[url.rindex("@") :] if "@" in url else url
