"""What the stand-in jumphost reads in an authorized_keys file."""

from __future__ import annotations

import pytest

from ioconnect.keys.authorized_keys import NotEd25519, parse_authorized_keys, parse_public_key

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJxJ2yMFeOXGqJb5J0fFqTRbNZpGv8WbBkZk3J4H8mQf"


@pytest.mark.parametrize(
    ("line", "ports"),
    [
        (KEY, None),
        (f"  {KEY} a comment, with a comma", None),
        (f'permitlisten="localhost:58115" {KEY}', {58115}),
        (f'permitlisten="localhost:58115",permitlisten="localhost:58116" {KEY} me', {58115, 58116}),
        (f'restrict,port-forwarding,permitlisten="localhost:58115"\t{KEY}', {58115}),
        (f"no-pty,no-X11-forwarding {KEY}", None),
    ],
)
def test_a_line_that_grants(line: str, ports: set[int] | None) -> None:
    (grant,), complaints = parse_authorized_keys(f"# comment\n\n{line}\n")

    assert grant.key == parse_public_key(KEY)
    assert grant.ports == ports
    assert complaints == []


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (f"restrict {KEY}", "restrict"),
        (f'from="10.0.0.1" {KEY}', "from"),
        (f'command="echo permitlisten" {KEY}', "command"),
        (f'permitlisten="58115" {KEY}', "localhost:PORT"),
        (f'permitlisten="localhost:0" {KEY}', "1 to 65535"),
        (f'permitlisten="*:58115" {KEY}', "localhost:PORT"),
        (f'permitlisten="localhost:58115 {KEY}', "no key"),
        ("no-pty", "no key"),
        ("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAQQC7", "ssh-rsa"),
        (KEY[:-4], "truncated"),
        (KEY.replace("ssh-ed25519 ", "ssh-ed25519 *"), "base64"),
    ],
)
def test_a_line_that_grants_nothing_is_named(line: str, complaint: str) -> None:
    """And the lines around it count."""
    grants, (said,) = parse_authorized_keys(f"{KEY}\n{line}\n{KEY}\n")

    assert len(grants) == 2
    assert said.startswith("line 2: ")
    assert complaint in said


@pytest.mark.parametrize("text", ["", "ssh-ed25519", KEY.split()[1], "ssh-rsa " + KEY.split()[1], f"no-pty {KEY}"])
def test_what_is_no_ed25519_key(text: str) -> None:
    with pytest.raises(NotEd25519, match="not an ssh-ed25519 public key"):
        parse_public_key(text)
