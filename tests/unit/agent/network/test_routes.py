"""Which routes a change of the network concerns."""

from __future__ import annotations

from dataclasses import replace

from ioconnect.agent.network.routes import NetworkChanged, Route, RoutesInUse

JUMPHOST, OTHER = "198.51.100.1", "203.0.113.1"
ROUTE = Route("192.0.2.2", "192.0.2.1", interface=2)
CHATTER = NetworkChanged(frozenset({7, 8}))


class Kernel:
    """The routes, and whether the kernel can be asked for them."""

    def __init__(self, **routes: Route) -> None:
        self.routes: dict[str, Route | None] = {JUMPHOST: ROUTE, OTHER: ROUTE, **routes}
        self.fails = False

    def find(self, address: str) -> Route | None:
        if self.fails:
            raise OSError(24, "Too many open files")
        return self.routes[address]


def in_use(kernel: Kernel, *addresses: str) -> RoutesInUse:
    routes = RoutesInUse(kernel.find)
    routes.note(addresses or [JUMPHOST])
    return routes


def test_what_happens_to_other_links_and_routes_concerns_nobody() -> None:
    routes = in_use(Kernel())
    for _ in range(3):
        assert routes.concerned([JUMPHOST], CHATTER) == set()


def test_a_change_of_the_route_itself_concerns_those_that_take_it_and_once() -> None:
    changes = (
        None,
        replace(ROUTE, gateway="192.0.2.9"),
        replace(ROUTE, source="192.0.2.3"),
        replace(ROUTE, interface=3),
        replace(ROUTE, is_up=False),
    )
    for changed in changes:
        kernel = Kernel()
        routes = in_use(kernel, JUMPHOST, OTHER)
        kernel.routes[JUMPHOST] = changed
        assert routes.concerned([JUMPHOST, OTHER], CHATTER) == {JUMPHOST}
        assert routes.concerned([JUMPHOST, OTHER], CHATTER) == set()
        kernel.routes[JUMPHOST] = ROUTE
        assert routes.concerned([JUMPHOST, OTHER], CHATTER) == {JUMPHOST}


def test_a_link_of_the_route_that_went_down_and_came_back_meanwhile_concerns_it() -> None:
    assert in_use(Kernel()).concerned([JUMPHOST], NetworkChanged(frozenset({2}))) == {JUMPHOST}


def test_a_route_over_a_vpn_a_bridge_or_a_bond_depends_on_all_real_interfaces() -> None:
    kernel = Kernel()
    kernel.routes[JUMPHOST] = replace(ROUTE, is_hardware=False)
    routes = in_use(kernel, JUMPHOST, OTHER)
    assert routes.concerned([JUMPHOST, OTHER], replace(CHATTER, hardware=True)) == {JUMPHOST}
    assert routes.concerned([JUMPHOST, OTHER], CHATTER) == set()


def test_where_the_system_tells_no_interface_any_link_may_be_the_routes() -> None:
    kernel = Kernel()
    kernel.routes[JUMPHOST] = Route("192.0.2.2")
    routes = in_use(kernel)
    assert routes.concerned([JUMPHOST], CHATTER) == {JUMPHOST}
    assert routes.concerned([JUMPHOST], NetworkChanged()) == set()


def test_the_earlier_route_is_the_one_that_is_compared_with() -> None:
    """A session may begin after the change and before the report of it, others have been there before."""
    kernel = Kernel()
    routes = in_use(kernel)
    kernel.routes[JUMPHOST] = None
    routes.note([JUMPHOST])
    assert routes.concerned([JUMPHOST], CHATTER) == {JUMPHOST}


def test_a_kernel_that_cannot_be_asked_has_changed_nothing() -> None:
    kernel = Kernel()
    routes = in_use(kernel)
    kernel.fails = True
    assert routes.concerned([JUMPHOST], CHATTER) == set()
    kernel.fails, kernel.routes[JUMPHOST] = False, None
    assert routes.concerned([JUMPHOST], CHATTER) == {JUMPHOST}


def test_routes_that_nobody_takes_any_more_are_forgotten() -> None:
    kernel = Kernel()
    routes = in_use(kernel, JUMPHOST, OTHER)
    routes.concerned([OTHER], CHATTER)
    kernel.routes[JUMPHOST] = None
    assert routes.concerned([JUMPHOST, OTHER], CHATTER) == set()
