"""Tunnels in the files of config.d beside config.toml: merged, and each file's faults are its own."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  pytest resolves it at run time

import pytest
from tests.rigs import ordinary_user

from ioconnect.config import configuration
from ioconnect.config.configuration import Config, HostPort, Tunnel
from ioconnect.console import selection
from ioconnect.errors import ConfigInvalid, UsageFault


def table(name: str, port: int, *lines: str) -> str:
    head = f'[tunnels.{name}]\nendpoint = "jump.example:{port}"\ntarget = "localhost:3306"\n'
    return head + "".join(f"{line}\n" for line in lines)


@pytest.fixture
def main(tmp_path: Path) -> Path:
    """A configuration of one tunnel, and an empty config.d."""
    path = tmp_path / "config.toml"
    path.write_text("schema = 1\n" + table("orders", 1))
    (tmp_path / "config.d").mkdir()
    return path


def put(main: Path, name: str, text: str) -> Path:
    path = main.parent / "config.d" / name
    path.write_text(text)
    return path


def names(config: Config) -> list[str]:
    return [tunnel.name for tunnel in config.tunnels]


def test_tunnels_of_all_files_are_merged_in_the_order_of_their_names(main: Path) -> None:
    put(main, "20.toml", table("stock", 3))
    put(main, "10.toml", table("pricing", 2, 'identity = "id"') + table("ledger", 4))
    for name in (".10.toml.swp", ".hidden.toml", "notes.txt", "old.toml~"):
        put(main, name, "nonsense")
    put(main, "empty.toml", "schema = 1\n")

    read = configuration.load(main)

    assert names(read) == ["orders", "pricing", "ledger", "stock"]
    assert read.invalid == ()
    assert read.tunnels[1].identity == main.parent / "id", "a table may move from file to file without a change"
    assert [tunnel.file and tunnel.file.name for tunnel in read.tunnels] == [None, "10.toml", "10.toml", "20.toml"]


def test_another_configuration_has_a_folder_of_its_own(main: Path) -> None:
    put(main, "a.toml", table("pricing", 2))
    other = main.rename(main.with_name("other.toml"))
    assert names(configuration.load(other)) == ["orders"]


@pytest.mark.parametrize(
    ("text", "says", "known"),
    [
        ("[tunnels.pricing\n", "not TOML", ()),
        ("\0", "not TOML", ()),
        (
            table("pricing", 2, "ssh_prot = 1"),
            "tunnels.pricing.ssh_prot: unknown key; did you mean ssh_port?",
            ("pricing",),
        ),
        (table("pricing", 2, "standby = 1"), "tunnels.pricing.standby: must be true or false, not 1", ("pricing",)),
        (
            table("pricing", 2) + '[agent]\nidentity = "x"\n',
            "agent: a file of config.d holds tunnels only",
            ("pricing",),
        ),
        ("schema = 2\n" + table("pricing", 2), "schema: must be 1", ("pricing",)),
        (table("orders", 9), "tunnels.orders: a tunnel of this name is in the main file already", ("orders",)),
        (table("pricing", 1), "tunnels.pricing.endpoint: the same as orders's", ("pricing",)),
        (table("stock", 9), "tunnels.stock: a tunnel of this name is in", ("stock",)),
    ],
)
def test_a_file_with_a_fault_is_left_out_and_the_others_are_read(
    main: Path, text: str, says: str, known: tuple[str, ...]
) -> None:
    put(main, "a.toml", table("stock", 3))
    bad = put(main, "b.toml", text)
    put(main, "c.toml", table("ledger", 4))

    read = configuration.load(main)

    assert names(read) == ["orders", "stock", "ledger"]
    (invalid,) = read.invalid
    assert invalid.path == bad
    assert f"{bad}: " in invalid.message
    assert says in invalid.message
    assert invalid.names == known
    with pytest.raises(ConfigInvalid, match=r"b\.toml") as caught:
        configuration.load_all_valid(main)
    assert caught.value.faults == invalid.faults


@pytest.mark.parametrize("text", ["[", "\xff", table("orders", 9), table("stock", 2, "x = 1")])
def test_the_name_of_a_file_is_shown_escaped(main: Path, text: str) -> None:
    """Whoever may write in the folder chooses it: no line of theirs, and no control character, gets to a terminal."""
    path = main.parent / "config.d" / "b\nerror: all is lost\x1b[2J.toml"
    path.write_bytes(text.encode("latin-1"))

    (invalid,) = configuration.load(main).invalid

    assert invalid.path == path
    assert "/b\\nerror: all is lost\\x1b[2J.toml: " in invalid.message + ":"
    assert all(each.isprintable() for each in (invalid.message, invalid.hint))


def test_the_file_of_another_tunnel_is_shown_escaped(main: Path) -> None:
    put(main, "a\x1b[2J.toml", table("stock", 3))
    put(main, "b.toml", table("stock", 4))

    read = configuration.load(main)

    assert "a\\x1b[2J.toml already" in read.invalid[0].message
    with pytest.raises(UsageFault, match=r"is in [^\x1b]*$"):
        configuration.with_tunnel(read, read.tunnels[1], replace=True)


def test_every_fault_of_every_file_is_said_at_once(main: Path) -> None:
    put(main, "a.toml", table("stock", 3, "max_connections = 0", "proxy = 1"))
    put(main, "b.toml", "[tunnels]\nx = 1\n")
    with pytest.raises(ConfigInvalid) as caught:
        configuration.load_all_valid(main)
    assert len(caught.value.message.split("\n")) == len(caught.value.faults) == 3


def test_a_file_that_cannot_be_read_is_a_fault_of_that_file(main: Path) -> None:
    put(main, "a.toml", table("stock", 3))
    (main.parent / "config.d" / "b.toml").mkdir()
    (main.parent / "config.d" / "gone.toml").symlink_to("nowhere")
    read = configuration.load(main)
    assert (names(read), [file.path.name for file in read.invalid]) == (["orders", "stock"], ["b.toml"])


def test_a_folder_that_cannot_be_read_is_a_fault_of_its_files() -> None:
    with ordinary_user.folder() as home:
        main = home / "config.toml"
        main.write_text("schema = 1\n" + table("orders", 1))
        main.with_suffix(".d").mkdir(mode=0o700)
        main.with_suffix(".d").chmod(0)
        shown = ordinary_user.run(
            "from pathlib import Path; from ioconnect.config import configuration",
            f"""
read = configuration.load(Path({str(main)!r}))
print([tunnel.name for tunnel in read.tunnels], [file.message for file in read.invalid])
""",
        )
    assert shown == f"['orders'] ['cannot read {main.with_suffix('.d')}: Permission denied']\n"


def test_a_tunnel_of_another_file_is_neither_written_nor_changed_here(main: Path) -> None:
    put(main, "a.toml", table("pricing", 2))
    put(main, "b.toml", table("stock", 3, "typo = 1"))
    before = configuration.load(main)

    added = configuration.with_tunnel(
        before, Tunnel("new", HostPort("jump.example", 7), HostPort("db", 1)), replace=False
    )
    configuration.save(main, added)

    assert "pricing" not in main.read_text()
    assert sorted(names(configuration.load(main))) == ["new", "orders", "pricing"]
    for name in ("pricing", "stock"):
        with pytest.raises(UsageFault, match=rf"the tunnel {name} is in .*\.toml"):
            configuration.with_tunnel(
                before, Tunnel(name, HostPort("jump.example", 8), HostPort("db", 1)), replace=True
            )


def test_the_switches_are_read_and_written(main: Path) -> None:
    main.write_text("schema = 1\n" + table("orders", 1, "standby = true", "enabled = false") + table("stock", 2))
    read = configuration.load(main)
    assert [(tunnel.standby, tunnel.enabled) for tunnel in read.tunnels] == [(True, False), (False, True)]
    assert [tunnel.name for tunnel in read.enabled] == ["stock"]
    assert configuration.parse(configuration.document(read), source="x") == read


def test_a_name_that_only_an_invalid_file_can_have_is_told_with_its_fault(main: Path) -> None:
    put(main, "a.toml", table("pricing", 2, "typo = 1"))
    read = configuration.load(main)
    assert selection.tunnel(read, "orders").name == "orders"
    with pytest.raises(ConfigInvalid, match="typo"):
        selection.tunnel(read, "pricing")
    with pytest.raises(UsageFault, match="no tunnel is called"):
        selection.tunnel(read, "else")
    put(main, "a.toml", "[")
    with pytest.raises(ConfigInvalid, match="not TOML"):
        selection.tunnel(configuration.load(main), "else")


def test_a_disabled_tunnel_is_chosen_by_nobody(main: Path) -> None:
    main.write_text("schema = 1\n" + table("orders", 1, "enabled = false") + table("stock", 2))
    read = configuration.load(main)
    assert selection.chosen(read, ()) == ("stock",)
    with pytest.raises(UsageFault, match="orders is disabled"):
        selection.chosen(read, ("orders",))
