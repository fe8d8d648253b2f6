"""Which tunnel is meant, and what is said if none is."""

from __future__ import annotations

import pytest

from ioconnect.config.addresses import HostPort
from ioconnect.config.configuration import Config, Tunnel
from ioconnect.console import selection
from ioconnect.errors import ConfigInvalid, UsageFault


def config(*names: str) -> Config:
    return Config(
        tunnels=tuple(Tunnel(name, HostPort("jump", 1000 + i), HostPort("db", 1)) for i, name in enumerate(names))
    )


@pytest.mark.parametrize(
    ("names", "given", "meant"),
    [
        (("orders",), None, "orders"),
        (("orders", "default"), None, "default"),
        (("orders", "stock"), "stock", "stock"),
    ],
)
def test_the_tunnel_that_is_meant(names: tuple[str, ...], given: str | None, meant: str) -> None:
    assert selection.tunnel(config(*names), given).name == meant


@pytest.mark.parametrize("given", [None, "orders"])
def test_no_tunnel_at_all_is_a_fault_of_the_configuration(given: str | None) -> None:
    with pytest.raises(ConfigInvalid, match="no tunnel is set up") as caught:
        selection.tunnel(config(), given)

    assert "ioconnect register" in caught.value.hint


def test_several_and_no_name() -> None:
    with pytest.raises(UsageFault) as caught:
        selection.tunnel(config("orders", "stock"), None)

    assert caught.value.hint == "There are: orders, stock"


@pytest.mark.parametrize(
    ("given", "hint"), [("ordres", "Did you mean orders?"), ("zzz\x1b[2J", "There are: orders, stock")]
)
def test_an_unknown_name_gets_the_nearest(given: str, hint: str) -> None:
    with pytest.raises(UsageFault) as caught:
        selection.tunnel(config("orders", "stock"), given)

    assert caught.value.hint == hint
    assert "\x1b" not in caught.value.message


def test_a_name_for_a_new_tunnel() -> None:
    assert selection.default_name(config()) == "default"
    assert selection.default_name(config("orders")) == "orders"
    assert selection.default_name(config("orders", "stock")) == "default"


def test_chosen_names_are_known_and_each_once() -> None:
    assert selection.chosen(config("a", "b"), ()) == ("a", "b")
    assert selection.chosen(config("a", "b"), ("b", "b")) == ("b",)
    with pytest.raises(UsageFault):
        selection.chosen(config("a", "b"), ("b", "c"))
    with pytest.raises(ConfigInvalid):
        selection.chosen(config(), ())
