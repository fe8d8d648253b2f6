"""`ioconnect test` with real servers: OpenSSH, a proxy, and databases that are named with their versions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.rigs import processes, redis
from tests.rigs.proxies import tinyproxy

from ioconnect.agent.dial.happy_eyeballs import SourcePort
from ioconnect.agent.supervisor.source_ports import SourcePorts
from ioconnect.config.configuration import load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.rigs.customer import Customer
    from tests.rigs.mariadb import Mariadb
    from tests.rigs.postgres import Postgres
    from tests.rigs.sshd import Sshd


def checks_of(customer: Customer, *, expect: int = 0) -> dict[str, dict[str, Any]]:
    return {check["id"]: check for check in json.loads(customer.run("test", "--json", expect=expect))["checks"]}


def test_all_well_with_postgresql(
    customer: Customer, sshd: Sshd, set_up: Callable[..., int], postgres: Postgres
) -> None:
    """The port is free afterwards: the same again, and then `up`."""
    port = set_up(postgres.port)
    version = int(postgres.query(postgres.port, "show server_version_num")) // 10000
    named = "13 or older" if version < 14 else "14 to 17" if version < 18 else "18 or newer"

    for _ in range(2):
        checks = checks_of(customer)
        assert checks["target"]["detail"].startswith(f"PostgreSQL {named} at localhost:{postgres.port}")
        assert {check["status"] for name, check in checks.items() if name != "target"} == {"pass"}
        assert sshd.fingerprint in checks["host_key"]["detail"]
        processes.wait_until(lambda: not processes.listens(port), what="the jumphost lets go of the port")
    customer.run("up", "--daemon")

    assert postgres.query(port, "select 1") == "1"
    assert "the running agent" in checks_of(customer)["forward"]["detail"]
    assert postgres.query(port, "select 1") == "1"


def test_mariadb(customer: Customer, set_up: Callable[..., int], mariadb: Mariadb) -> None:
    set_up(mariadb.port)

    version = mariadb.query(mariadb.port, "select version()")

    target = checks_of(customer)["target"]
    assert target["detail"].startswith(f"MariaDB {version} at localhost:{mariadb.port}")
    assert target["status"] == "pass"  # with or without TLS: no network is between


def test_redis(customer: Customer, set_up: Callable[..., int], tmp_path: Path) -> None:
    """It does TLS on another port, if at all."""
    with redis.running(tmp_path) as port:
        set_up(port)
        target = checks_of(customer)["target"]

    assert target["detail"] == f"Redis {redis.version()} at localhost:{port} (127.0.0.1); it allows no TLS"
    assert (target["status"], target["hint"]) == ("pass", None)  # no network is between


def test_redis_that_wants_a_password(customer: Customer, set_up: Callable[..., int], tmp_path: Path) -> None:
    with redis.running(tmp_path, "--requirepass", "secret") as port:
        set_up(port)

        assert checks_of(customer)["target"]["detail"].startswith("Redis (it hides its version) at localhost:")


def test_it_dials_from_the_port_that_an_agent_left_behind(
    customer: Customer, sshd: Sshd, set_up: Callable[..., int], postgres: Postgres
) -> None:
    """As the agent will: that ends a session of ours which the jumphost still believes in."""
    set_up(postgres.port)
    source = processes.free_port()
    (customer.home / "state").mkdir(exist_ok=True)
    tunnel = load(customer.home / "config.toml").tunnels[0]
    SourcePorts(customer.home / "state" / "sources.json").store(tunnel, SourcePort("127.0.0.1", source, None))

    assert checks_of(customer)["forward"]["status"] == "pass"
    assert f"Connection from 127.0.0.1 port {source} " in sshd.log_text()


def test_a_key_that_sshd_does_not_know(
    customer: Customer, sshd: Sshd, set_up: Callable[..., int], postgres: Postgres
) -> None:
    set_up(postgres.port)
    sshd.revoke_all()

    auth = checks_of(customer, expect=77)["auth"]

    assert (auth["status"], auth["reason"]) == ("fail", "auth_refused")


def test_a_port_that_sshd_does_not_permit(
    customer: Customer, sshd: Sshd, set_up: Callable[..., int], postgres: Postgres
) -> None:
    set_up(postgres.port)
    sshd.revoke_all()
    sshd.authorize(customer.run("keygen"), processes.free_port())

    forward = checks_of(customer, expect=77)["forward"]

    assert (forward["status"], forward["reason"]) == ("fail", "forward_not_permitted")


def test_a_port_that_another_agent_holds(
    make_customer: Callable[[str], Customer],
    customer: Customer,
    set_up: Callable[..., int],
    postgres: Postgres,
) -> None:
    """The session check does not disturb it."""
    port = set_up(postgres.port)
    other = make_customer("other")
    for name in ("config.toml", "id_ed25519", "known_hosts"):
        (other.home / name).write_bytes((customer.home / name).read_bytes())
        (other.home / name).chmod(0o600)
    other.run("up", "--daemon")

    forward = checks_of(customer, expect=75)["forward"]

    assert (forward["status"], forward["reason"]) == ("fail", "port_busy")
    assert postgres.query(port, "select 1") == "1"


def test_through_a_proxy_and_past_one_that_allows_443_only(
    customer: Customer, set_up: Callable[..., int], postgres: Postgres, tmp_path: Path
) -> None:
    set_up(postgres.port)
    file = customer.home / "config.toml"
    plain = file.read_text()
    (tmp_path / "open").mkdir()
    (tmp_path / "strict").mkdir()

    with tinyproxy(tmp_path / "open") as port:
        file.write_text(plain + f'proxy = "http://127.0.0.1:{port}"\n')
        checks = checks_of(customer)
        assert f"through the proxy http://127.0.0.1:{port}" in checks["tcp"]["detail"]
        assert checks["forward"]["status"] == "pass"
    with tinyproxy(tmp_path / "strict", "ConnectPort 443") as port:
        file.write_text(plain + f'proxy = "http://127.0.0.1:{port}"\n')
        tcp = checks_of(customer, expect=69)["tcp"]

    assert (tcp["status"], tcp["reason"]) == ("fail", "proxy_refused")
    assert "port 443 only" in tcp["hint"]
