"""The configuration: read with all its faults at once, written, and read again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rigs import ordinary_user

from ioconnect.config import configuration
from ioconnect.config.addresses import HostPort, SocketPath
from ioconnect.config.configuration import AgentSettings, Config, Tunnel
from ioconnect.errors import ConfigInvalid, ExitCode, ReasonCode, UsageFault

ORDERS = {"endpoint": "virginia-tunnel.flydata.app:58115", "target": "localhost:3306"}


def faults_of(values: dict[str, object]) -> dict[str, str]:
    """Return path → message of everything that is wrong with the document."""
    with pytest.raises(ConfigInvalid) as caught:
        configuration.parse(values, source="config.toml")
    found = {fault.path: fault.message for fault in caught.value.faults}
    assert len(found) == len(caught.value.faults)
    assert caught.value.message.split("\n") == [f"config.toml: {path}: {found[path]}" for path in found]
    return found


def fault_in_tunnel(**values: object) -> dict[str, str]:
    found = faults_of({"schema": 1, "tunnels": {"orders": {**ORDERS, **values}}})
    return {path.removeprefix("tunnels.orders."): message for path, message in found.items()}


def test_the_contracts_example_is_read(tmp_path: Path) -> None:
    """The configuration of CLI.md, every key of it."""
    path = tmp_path / "config.toml"
    path.write_text(
        """
        schema = 1
        [agent]                                   # all optional
        identity = "~/.config/ioconnect/id_ed25519"
        keepalive_interval = 10
        keepalive_count_max = 1
        buffer_mib = 32
        [tunnels.orders]
        endpoint = "virginia-tunnel.flydata.app:58115"
        target = "localhost:3306"
        ssh_port = 50683
        ssh_user = "sshtunnel"
        max_connections = 256
        proxy = ""
        identity = "other_key"
        """
    )

    read = configuration.load(path)

    assert read.agent == AgentSettings(Path.home() / ".config/ioconnect/id_ed25519", 10.0, 1, 32 << 20)
    (tunnel,) = read.tunnels
    assert tunnel == Tunnel(
        name="orders",
        endpoint=HostPort("virginia-tunnel.flydata.app", 58115),
        target=HostPort("localhost", 3306),
        identity=tmp_path / "other_key",
    )
    assert tunnel.jumphost == HostPort("virginia-tunnel.flydata.app", 50683)
    assert tunnel.listen_port == 58115


def test_all_faults_are_told_at_once() -> None:
    found = faults_of(
        {
            "schema": 2,
            "agnet": {},
            "agent": {"keepalive_interval": True, "keepalive_countmax": 1},
            "tunnels": {
                "orders": {"endpoint": "jump:0", "ssh_prot": 22, "ssh_port": 65536},
                "bad name": ORDERS,
            },
        }
    )

    assert set(found) == {
        "schema",
        "agnet",
        "agent.keepalive_interval",
        "agent.keepalive_countmax",
        "tunnels.orders.endpoint",
        "tunnels.orders.target",
        "tunnels.orders.ssh_prot",
        "tunnels.orders.ssh_port",
        "tunnels.bad name",
    }
    assert found["agnet"] == "unknown key; did you mean agent?"
    assert found["agent.keepalive_countmax"] == "unknown key; did you mean keepalive_count_max?"
    assert found["tunnels.orders.ssh_prot"] == "unknown key; did you mean ssh_port?"


def test_the_fault_is_of_the_configuration() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        configuration.parse({}, source="config.toml")

    assert caught.value.exit_code is ExitCode.CONFIG
    assert caught.value.reason.code is ReasonCode.CONFIG_INVALID
    assert caught.value.message == "config.toml: schema: missing; it is the file's format: schema = 1"


def test_algorithms_for_old_jumphosts_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('schema = 1\n[crypto]\nallow = ["hmac-sha2-256", "ecdh-sha2-nistp256", "hmac-sha2-256"]\n')

    config = configuration.load(path)
    configuration.save(path, config)

    assert config.agent.allowed_algorithms == ("hmac-sha2-256", "ecdh-sha2-nistp256")
    assert configuration.load(path) == config


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("hmac-sha2-256", "must be an array"),
        ([7], "must be text in quotes, not 7"),
        (["hmac-sha2-265"], "did you mean hmac-sha2-256?"),
        (["hmac-md5"], "there are: "),
        (["aes128-gcm@openssh.com"], "is offered anyway, or cannot be"),
    ],
)
def test_only_some_algorithms_may_be_allowed(value: object, said: str) -> None:
    assert said in faults_of({"schema": 1, "crypto": {"allow": value}})["crypto.allow"]


@pytest.mark.parametrize("schema", [0, 2, True, "1", 1.0])
def test_another_schema_is_refused(schema: object) -> None:
    assert "must be 1" in faults_of({"schema": schema})["schema"]


def test_an_unknown_key_with_no_near_name_is_just_unknown() -> None:
    assert fault_in_tunnel(zzz=1) == {"zzz": "unknown key"}


@pytest.mark.parametrize(
    "value", [0, 65536, "50683", True, 22.0, -1, 1 << 20000, []], ids=lambda value: type(value).__name__
)
def test_a_port_is_a_whole_number_in_range(value: object) -> None:
    found = fault_in_tunnel(ssh_port=value, max_connections=value)

    assert set(found) == {"ssh_port", "max_connections"}
    assert all("whole number from 1 to 65535" in message for message in found.values())


@pytest.mark.parametrize("value", [0, -1, True, "10", float("nan"), float("inf"), 1e9, {}])
def test_an_interval_is_a_number_above_zero(value: object) -> None:
    assert (
        "number of seconds"
        in faults_of({"schema": 1, "agent": {"keepalive_interval": value}})["agent.keepalive_interval"]
    )


@pytest.mark.parametrize(("key", "value"), [("keepalive_count_max", 0), ("buffer_mib", 0), ("buffer_mib", 4097)])
def test_counts_have_their_ranges(key: str, value: int) -> None:
    assert "whole number" in faults_of({"schema": 1, "agent": {key: value}})[f"agent.{key}"]


@pytest.mark.parametrize("value", [1, True, ["a:1"], {"host": "a"}])
def test_text_is_text(value: object) -> None:
    found = fault_in_tunnel(endpoint=value, target=value, ssh_user=value, identity=value, proxy=value)

    assert set(found) == {"endpoint", "target", "ssh_user", "identity", "proxy"}
    assert all("text in quotes" in message for message in found.values())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("endpoint", "jumphost"),
        ("endpoint", "a\x1b]0;x\x07b:1"),
        ("target", "::1:3306"),
        ("target", ":3306"),
        ("ssh_user", ""),
        ("ssh_user", "a\nb"),
        ("identity", ""),
        ("identity", "a\0b"),
        ("identity", "~no-such-user-here/key"),
        ("proxy", "http://proxy:x"),
    ],
)
def test_a_bad_value_is_a_fault_of_its_key_and_safe_to_print(key: str, value: str) -> None:
    found = fault_in_tunnel(**{key: value})

    assert list(found) == [key]
    assert found[key].isprintable()


def test_a_proxys_password_is_nowhere_to_be_seen() -> None:
    found = fault_in_tunnel(proxy="http://me:SECRET@proxy:port")
    tunnel = Tunnel("a", HostPort("b", 1), HostPort("c", 2), proxy="http://me:SECRET@proxy:3128")

    assert "SECRET" not in str(found)
    assert "SECRET" not in repr(tunnel)


@pytest.mark.parametrize("tables", [{"agent": 1}, {"tunnels": []}, {"tunnels": {"orders": "x"}}])
def test_a_table_is_a_table(tables: dict[str, object]) -> None:
    (message,) = faults_of({"schema": 1, **tables}).values()

    assert "must be a table" in message


def test_two_tunnels_with_one_endpoint_are_a_fault() -> None:
    other = {**ORDERS, "endpoint": "Virginia-Tunnel.flydata.app:58115"}

    found = faults_of({"schema": 1, "tunnels": {"orders": ORDERS, "copy": other}})

    assert found == {"tunnels.copy.endpoint": "the same as orders's; two tunnels would fight for one port"}


@pytest.mark.parametrize("name", ["", "a b", "a/b", "..", ".a", "-a", "ä", "x" * 65, "a\n"])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(UsageFault):
        configuration.check_name(name)
    assert "tunnel's name" in next(iter(faults_of({"schema": 1, "tunnels": {name: ORDERS}}).values()))


@pytest.mark.parametrize("name", ["a", "orders-eu_1.prod", "x" * 64, "0"])
def test_a_good_name_is_taken(name: str) -> None:
    assert configuration.check_name(name) == name


def tunnel(name: str, port: int = 1) -> Tunnel:
    return Tunnel(name, HostPort("jump", port), HostPort("db", 5432))


def test_a_tunnel_is_added_at_the_end() -> None:
    assert configuration.with_tunnel(Config(tunnels=(tunnel("a"),)), tunnel("b", 2), replace=False).tunnels == (
        tunnel("a"),
        tunnel("b", 2),
    )


def test_a_tunnel_is_replaced_only_when_asked() -> None:
    known = Config(tunnels=(tunnel("a"), tunnel("b", 2)))

    with pytest.raises(UsageFault, match="exists already") as caught:
        configuration.with_tunnel(known, tunnel("a", 3), replace=False)
    assert "--force" in caught.value.hint
    assert configuration.with_tunnel(known, tunnel("a", 3), replace=True).tunnels == (tunnel("a", 3), tunnel("b", 2))
    assert configuration.with_tunnel(known, tunnel("a"), replace=True) == known


def test_an_endpoint_of_another_tunnel_is_refused() -> None:
    with pytest.raises(UsageFault, match="has the endpoint"):
        configuration.with_tunnel(Config(tunnels=(tunnel("a"),)), tunnel("b"), replace=True)


def test_only_what_differs_from_the_default_is_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "config.toml"

    configuration.save(path, Config(tunnels=(tunnel("a"),)))

    assert path.read_text() == 'schema = 1\n\n[tunnels.a]\nendpoint = "jump:1"\ntarget = "db:5432"\n'
    assert path.stat().st_mode & 0o7777 == 0o600
    assert path.parent.stat().st_mode & 0o7777 == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["config.toml"]


hosts = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{1,8}){0,3}", fullmatch=True) | st.ip_addresses(
    v=6
).map(str)
host_ports = st.builds(HostPort, hosts, st.integers(1, 65535))
identities = st.none() | st.from_regex(r"/[A-Za-z0-9 ~\"'\\=#äß/._-]{0,30}", fullmatch=True).map(Path)
tunnels = st.builds(
    Tunnel,
    name=st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", fullmatch=True),
    endpoint=host_ports,
    target=host_ports,
    ssh_port=st.integers(1, 65535),
    ssh_user=st.from_regex(r"[a-zäß\"'\\][a-z@\"'\\-]{0,20}", fullmatch=True),
    max_connections=st.integers(1, 65535),
    proxy=st.sampled_from(["", "none", "http://u:p%22%40@proxy:3128", "socks5h://[::1]:1"]),
    identity=identities,
)
configs = st.builds(
    Config,
    agent=st.builds(
        AgentSettings,
        identity=identities,
        keepalive_interval=st.floats(0.01, 86400),
        keepalive_count_max=st.integers(1, 1000000),
        buffer_budget=st.integers(1, 4096).map(lambda mebibytes: mebibytes << 20),
    ),
    tunnels=st.lists(tunnels, max_size=5, unique_by=(lambda t: t.name, lambda t: t.endpoint)).map(tuple),
)


@given(configs)
def test_what_is_written_reads_the_same(tmp_path_factory: pytest.TempPathFactory, written: Config) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.toml"

    configuration.save(path, written)

    assert configuration.load(path) == written


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text() | st.sampled_from(["orders", "endpoint", "target", "proxy", "identity"]), inner)
    ),
)


@settings(max_examples=40)  # each is a whole document
@given(st.dictionaries(st.sampled_from(["schema", "agent", "tunnels"]) | st.text(), documents))
def test_any_document_is_read_or_refused_with_its_faults(values: dict[str, object]) -> None:
    message = ""
    try:
        configuration.parse(values, source="config.toml")
    except ConfigInvalid as error:
        message = error.message
        assert len(message.split("\n")) == len(error.faults) > 0  # noqa: PT017  a good document is good too
    assert message.replace("\n", "").isprintable()


def refusal(path: Path) -> ConfigInvalid:
    with pytest.raises(ConfigInvalid) as caught:
        configuration.load(path)
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value


def test_a_file_that_is_not_there_leads_to_register(tmp_path: Path) -> None:
    assert "ioconnect register" in refusal(tmp_path / "config.toml").hint
    assert configuration.load(tmp_path / "config.toml", or_empty=True) == Config()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"schema = 1\n[agent\n", "line 2"),
        (b"schema = 1\nschema = 1\n", "line 2"),
        (b"schema = 1\n# caf\xe9\n", "line 2 is not UTF-8"),
        (b"x = " + b"[" * 100000, "not TOML"),
        (b"x = " + b"1" * 10000, "not TOML"),
        (b"#" * (2 << 20), "larger than"),
        (b"\0", "not TOML"),
    ],
)
def test_what_is_no_toml_is_refused_with_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)

    assert said in refusal(path).message


def test_a_file_that_is_too_large_is_told_the_bound(tmp_path: Path) -> None:
    """It spoke of permissions."""
    path = tmp_path / "config.toml"
    path.write_bytes(b"#" * (2 << 20))

    assert "at most 1 MiB: put some tunnels into files of config.d" in refusal(path).hint


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    assert "it is a folder" in refusal(tmp_path).message
    assert "regular file" in refusal(tmp_path).hint


def test_a_file_that_may_not_be_read_says_so() -> None:
    with ordinary_user.folder() as folder:
        path = folder / "config.toml"
        path.write_text("schema = 1\n")
        path.chmod(0)
        shown = ordinary_user.run(
            "from pathlib import Path; from ioconnect import errors; from ioconnect.config import configuration",
            f"""
try:
    configuration.load(Path({str(path)!r}))
except errors.ConfigInvalid as error:
    print(error.message)
""",
        )

    assert shown == f"cannot read {path}: Permission denied\n"


def test_a_full_disk_leaves_the_old_configuration(tmp_path: Path) -> None:
    """RLIMIT_FSIZE makes every write of more than ten bytes fail, as a full disk does."""
    path = tmp_path / "config.toml"
    configuration.save(path, Config(tunnels=(tunnel("a"),)))
    before = path.read_bytes()
    code = f"""
import json, resource, sys
from pathlib import Path
from ioconnect import errors
from ioconnect.config import addresses, configuration
import tomli_w
path = Path({str(path)!r})
changed = configuration.with_tunnel(configuration.load(path), configuration.Tunnel(
    "b", addresses.HostPort("jump", 2), addresses.HostPort("db", 1)), replace=False)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
try:
    configuration.save(path, changed)
except errors.CannotCreate as error:
    sys.stdout.write(json.dumps([error.message, int(error.exit_code)]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)

    assert json.loads(done.stdout) == [f"cannot write {path}: File too large", 73]
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.toml"]


def test_a_target_may_be_a_unix_socket(tmp_path: Path) -> None:
    """Written as it is read, and a fault is one of its key."""
    path = tmp_path / "config.toml"
    tunnel = 'endpoint = "jump.test:1"\ntarget = "unix:/run/mysqld/mysqld.sock"\n'
    path.write_text(f"schema = 1\n[tunnels.orders]\n{tunnel}")
    config = configuration.load(path)
    assert config.tunnels[0].target == SocketPath("/run/mysqld/mysqld.sock")
    configuration.save(path, config)
    assert configuration.load(path) == config

    assert "absolute path" in fault_in_tunnel(target="unix:mysqld.sock")["target"]
    assert "bytes" in fault_in_tunnel(target=f"unix:/{'x' * 200}")["target"]
    assert "abstract" in fault_in_tunnel(target="unix:@mysqld")["target"]
