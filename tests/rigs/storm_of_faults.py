"""A fault every few seconds, from a list that the seed shuffles; a thread of its own."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rigs.customer import Customer
    from tests.rigs.fault_relay import FaultRelay
    from tests.rigs.sshd import Sshd

EVERY = (2.0, 5.0)  # seconds between two faults
NOTICE = 2.5  # seconds: the keepalive of the soak is one second and one probe


class Storm:
    """Blows until `abate`; `faults` counts what it did."""

    def __init__(self, relay: FaultRelay, sshd: Sshd, customer: Customer, *, seed: int) -> None:
        self.faults: Counter[str] = Counter()
        self._relay = relay
        self._sshd = sshd
        self._customer = customer
        self._chance = random.Random(seed)
        self._over = threading.Event()
        self._trouble: BaseException | None = None
        self._thread = threading.Thread(target=self._blow, daemon=True)
        self._thread.start()

    def abate(self) -> None:
        """End it, with everything in order again; raises what went wrong in it."""
        self._over.set()
        self._thread.join(60)
        self._relay.heal()
        if self._trouble is not None:
            raise self._trouble

    def _blow(self) -> None:
        kinds: list[Callable[[], None]] = [
            self._relay.cut,
            self._relay.reset,
            self._black_hole,
            self._refuse,
            self._kill_sessions,
            self._freeze_sessions,
            self._sshd.restart,
            self._reconnect,
            self._reload,
        ]
        try:
            while not self._over.wait(self._chance.uniform(*EVERY)):
                kind = self._chance.choice(kinds)
                self.faults[kind.__name__.strip("_")] += 1
                kind()
        except BaseException as error:  # noqa: BLE001  belongs to the test's thread
            self._trouble = error

    def _black_hole(self) -> None:
        self._relay.black_hole()
        self._over.wait(NOTICE)
        self._relay.reset()
        self._relay.heal()

    def _refuse(self) -> None:
        self._relay.refuse()
        self._relay.reset()
        self._over.wait(1.5)
        self._relay.listen()

    def _kill_sessions(self) -> None:
        if self._sshd.session_pids():
            self._sshd.kill_sessions()

    def _freeze_sessions(self) -> None:
        if self._sshd.session_pids():
            self._sshd.freeze_sessions()
            self._over.wait(NOTICE)
            self._kill_sessions()

    def _reconnect(self) -> None:
        self._customer.run("reconnect")

    def _reload(self) -> None:
        os.kill(self._customer.agent_pid(), signal.SIGHUP)
