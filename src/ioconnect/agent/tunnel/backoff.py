"""The delay before the next attempt, by retry class (`errors.Disposition`).

Pure: random numbers are arguments. How sshd limits frequent attempts: sshd_config(5), MaxStartups and
PerSourcePenalties.
"""

from __future__ import annotations

from ioconnect.disposition import Disposition

STABLE_UPTIME = 30.0
"""Seconds of uptime after which a tunnel's failure counts are reset.

One and a half times the 20 s in which the vendor's keepalive settings detect a dead link: a tunnel that is lost soon
after each grant keeps backing off.
"""

LONG_OUTAGE = 300.0  # seconds of one outage after which network retries are up to 15 s apart instead of 5

_JITTER = 0.25  # of the delay, added at random to the slow classes: agents refused together retry apart


def delay(disposition: Disposition, failures: int, outage_age: float, random: float) -> float:
    """Return the seconds to wait after `failures` (>= 1) consecutive failures of this class.

    `outage_age` is the seconds since the outage began, `random` a random number in [0, 1). A local fault of a running
    agent (EXIT) waits like HOLD: the agent runs on, and a user has to mend it.
    """
    exponent = min(failures - 1, 10)
    if disposition is Disposition.RETRY:
        cap = 4.5 if outage_age < LONG_OUTAGE else 15.0  # 5 s between attempts, of which 0.5 for the attempt
        return random * min(cap, 2.0**exponent)  # full jitter
    if disposition is Disposition.MAX_STARTUPS:
        return 5.0 + 15.0 * random
    if disposition is Disposition.RETRY_FORWARD:
        return 1.0 + 3.5 * random  # 5 s between requests, of which 0.5 for the reply
    if disposition is Disposition.SIGN_IN_CUT and failures == 1:  # its restart; two are no penalty yet
        return 2.0 + 3.0 * random
    if disposition is Disposition.PENALIZED:
        return _with_jitter(60.0, exponent, 600.0, random)
    return _with_jitter(30.0, exponent, 900.0, random)


def minimum_interval(disposition: Disposition, failures: int) -> float:
    """Return the least seconds between two attempts when an event that no user caused ends a wait early.

    A flapping link must cause neither a busy loop (RETRY) nor penalties at the jumphost (the others). Where a refusal
    is for good until somebody acts, the least grows with the failures as the wait does.
    """
    return _MINIMUM_INTERVAL.get(disposition) or delay(disposition, failures, 0.0, 0.0)


_MINIMUM_INTERVAL = {Disposition.RETRY: 0.5, Disposition.MAX_STARTUPS: 5.0, Disposition.RETRY_FORWARD: 0.5}


def _with_jitter(first: float, exponent: int, cap: float, random: float) -> float:
    return min(cap, first * 2.0**exponent * (1.0 + _JITTER * random))
