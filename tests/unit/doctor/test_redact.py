"""Redaction: no secret is left in whatever encoding, and other text is kept."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioconnect.doctor.redact import REDACTED, redact, secrets_of_key, secrets_of_url
from ioconnect.keys.private_keys import generate

PEM = generate(None)[0].decode()
TOKEN = "zLIvKbQLcTAqrLj9aiWR16R_RhuarkYL"
FINGERPRINT = "SHA256:uNiVztksCsDhcc0u9e8BrtYkwPVq2W5hKsYk3WyPbCM"


@pytest.mark.parametrize(
    "text",
    [
        'proxy = "http://me:hunter2@proxy:3128"',
        '# proxy = "http://me:hunter2@proxy:3128"   # the old one',
        "proxy = 'http://me:hunter2 with a blank@proxy:3128'",
        'proxy = "http://me:hunter2"quote@proxy:3128"',
        'proxy = "http://me:a@hunter2@proxy:3128"',
        "https_proxy=me:hunter2@proxy:3128",
        "dialling through http://me:hunter2@proxy:3128: refused",
        "curl -x me:hunter2@proxy.example.com:3128 told",
        "socks5h://me:hunter2@[::1]:1080",
        "Proxy-Authorization: Basic aHVudGVyMmh1bnRlcjI=",
        "authorization: Bearer hunter2hunter2",
        '"token": "hunter2",',
        "api_key=hunter2",
        "PGPASSWORD=hunter2 psql",
        "ioconnect register --token hunter2",
        'password = "hun\\"ter2 hunter2"',
        f"password:{' ' * 100}hunter2",
        "the password was hunter2",
        "machine db login x password hunter2x",
        "machine db\n  login x\n  password hunter2x\n",
        "ALTER USER x IDENTIFIED BY 'hunter2 hunter2'",
        "CREATE USER x IDENTIFIED WITH mysql_native_password BY 'hunter2'",
        "CREATE USER x IDENTIFIED BY hunter2;",
        "ALTER ROLE x WITH PASSWORD 'hunter2 hunter2'",
        "alter role x with password 'hunter2 hunter2'",
        "ALTER ROLE x PASSWORD hunter2",
        "requirepass hunter2",
        "Cookie: session=hunter2; other=hunter2",
        "Set-Cookie: session=hunter2; HttpOnly",
        '{"Cookie": "session=hunter2; other=hunter2", "status": "pass"}',
        'Authorization: Digest username="x", response="hunter2"',
        "ioconnect x --password 'hunter1 hunter2'",
        'curl --cookie "a=b; session=hunter2"',
        "sshpass -p 'hunter1 hunter2' ssh x",
        "mysql -p'hunter1 hunter2' x",
        "sqlplus scott/hunter2@orcl",
        "sqlplus -S scott/hunter2",
        "CONNECT scott/hunter2@//db.example.com:1521/orcl",
        'expdp "scott"/"x@y hunter2"@orcl',
        "jdbc:oracle:thin:scott/hunter2@db.example.com:1521:orcl",
        "proxy[scott]/hunter2@orcl",
        "curl -u me:hunter2 https://api.example.com",
        "curl -sSu me:hunter2 https://api.example.com",
        "curl -ume:hunter2 https://api.example.com",
        "curl --user 'me:hunter1 hunter2' https://api.example.com",
        'curl -U "me:hunter1 hunter2" x',
        "curl --proxy-user=me:hunter2 x",
        "['curl', '-u', 'me:hunter2', 'x']",
        "redis-cli -h db -p 6379 -a hunter2 ping",
        '["redis-cli", "-a", "hunter2"]',
        "exp userid=scott/hunter2 file=x.dmp",
        "redis-cli --pass 'hunter1 hunter2'",
        "valkey-cli -a hunter2",
        "AUTH hunter2",
        "AUTH default hunter2",
        "127.0.0.1:6379> auth hunter2",
        '1700000000.1 [0 127.0.0.1:1] "AUTH" "hunter2"',
        "Driver={PostgreSQL};Uid=me;Pwd={hunter1; hunter2};",
        "Password = { hunter2 }",
        "Password={hunter1}} hunter2}",
        "Password = { hunter2",
    ],
)
def test_what_looks_like_a_secret_goes(text: str) -> None:
    shown = redact(text)

    assert "hunter2" not in shown
    assert "aHVudGVy" not in shown
    assert REDACTED in shown or "***@" in shown


@pytest.mark.parametrize("text", [TOKEN, f"got {TOKEN}.", f'{{"x": "{TOKEN}"}}', "0123456789abcdef" * 2, "A1b2" * 12])
def test_long_random_strings_go(text: str) -> None:
    shown = redact(text)

    assert TOKEN not in shown
    assert REDACTED in shown


@pytest.mark.parametrize(
    "text",
    [
        PEM,
        "2026-11-22T10:00:00.000Z INFO read " + PEM.replace("\n", "\\n"),
        PEM[: len(PEM) // 2],
        PEM.split("\n", 1)[1],  # without its first line
        json.dumps({"key": PEM}),
    ],
)
def test_a_private_key_goes_whole_or_in_pieces(text: str) -> None:
    shown = redact(text, secrets_of_key(PEM))

    assert not any(line in shown for line in secrets_of_key(PEM))
    assert "b3BlbnNzaC1rZXk" not in shown


def test_a_line_of_the_key_alone_goes_because_it_is_known() -> None:
    line = secrets_of_key(PEM)[2]

    assert line not in redact(f"the log has {line} in it", secrets_of_key(PEM))


@pytest.mark.parametrize(
    "text",
    [
        f"{FINGERPRINT} is the pinned host key",
        "2026-11-22T10:00:00.123Z INFO tunnel orders: connected -> backoff (connection_lost)",
        "sshtunnel@virginia-tunnel.flydata.app:50683",
        "/usr/lib/python3.11/site-packages/ioconnect/agent/session.py",
        'endpoint = "virginia-tunnel.flydata.app:58115"',
        'identity = "~/.config/ioconnect/id_ed25519"',
        '{"state": "connected", "status": "pass", "keyring": null, "host_key": "' + FINGERPRINT + '"}',
        "cannot connect to [2001:db8::7]:3306: refused by 2001:db8::7",
        'FATAL: password authentication failed for user "x"',
        "the password of the identity is asked for",
        '{"name": "token", "status": "pass"}',
        "/etc/systemd/system/autossh@orders.service is enabled",
        "sudo -u ioconnect ioconnect status -u",
        "journalctl -n 20 -u ioconnect",
        "auth: the jumphost does not accept this machine's key",
        "redis-cli -h db.example.com ping",
        "cannot connect to port 22/tcp",
        "reconnect tried 2/3 of them",
    ],
)
def test_what_support_needs_stays(text: str) -> None:
    assert redact(text) == text


@given(st.text(st.characters(codec="utf-8"), min_size=4))
def test_a_known_secret_goes_in_whatever_spelling(secret: str) -> None:
    assert secret not in redact(f"before {secret} after", [secret]).replace(REDACTED, "").removeprefix("before ")[:-6]
    assert json.dumps(secret)[1:-1] not in redact(f"[{json.dumps(secret)}]", [secret]).replace(REDACTED, "").strip(
        "[]"
    )


def test_the_secrets_of_a_proxys_url() -> None:
    found = set(secrets_of_url("http://me:p%40ss-word@proxy:3128"))

    assert {"p%40ss-word", "p@ss-word", base64.b64encode(b"me:p@ss-word").decode()} <= found
    assert list(secrets_of_url("http://proxy:3128")) == []
    assert "pass@word" in set(secrets_of_url("http://me:pass@word@proxy:99999"))


@given(st.text(st.characters(codec="utf-8"), max_size=500))
def test_any_text_can_be_redacted(text: str) -> None:
    redact(text)
