"""How long to wait before the next attempt, by the kind of the failure (`errors.Disposition`).

Pure: the randomness is the argument `roll`. The figures are DESIGN rule 2; what sshd does to those who hurry is in
sshd_config(5), MaxStartups and PerSourcePenalties.
"""

from __future__ import annotations

from ioconnect.errors import Disposition

STABLE_AFTER = 30.0
"""Seconds that a tunnel must stay up before its failures are forgotten.

Half as long again as a dead link takes to be noticed with the vendor's keepalive (20 s): a tunnel that is
granted and dies at once, over and over, never gets that old and so keeps backing off.
"""

PATIENT_AFTER = 300.0  # seconds of one outage after which network retries may be 15 s apart instead of 5

_SPREAD = 0.25  # of the wait, added at random to the slow classes so that agents refused together come apart


def delay(disposition: Disposition, failures: int, outage_age: float, roll: float) -> float:
    """Return the seconds to wait after the latest of `failures` (>= 1) failures in a row of this class.

    `outage_age` is in seconds since the outage began, `roll` in [0, 1). A local fault that comes up in mid-life
    (EXIT) waits as HOLD does: the agent stays, and somebody has to change something.
    """
    doublings = min(failures - 1, 10)
    if disposition is Disposition.RETRY:
        cap = 4.5 if outage_age < PATIENT_AFTER else 15.0  # 5 s from try to try: half a second is for the try
        return roll * min(cap, 2.0**doublings)  # full jitter
    if disposition is Disposition.MAX_STARTUPS:
        return 5.0 + 15.0 * roll
    if disposition is Disposition.RETRY_FORWARD:
        return 1.0 + 3.5 * roll  # of the 5 s that are allowed, half a second is for the answer
    if disposition is Disposition.PENALIZED:
        return _spread(60.0, doublings, 600.0, roll)
    return _spread(30.0, doublings, 900.0, roll)


def soonest(disposition: Disposition) -> float:
    """Return the least seconds between the starts of two attempts when an event, not a person, cuts a wait short.

    A link that flaps must neither spin (RETRY) nor collect penalties at the jumphost (the others).
    """
    return _SOONEST[disposition]


_SOONEST = {
    Disposition.RETRY: 0.5,
    Disposition.MAX_STARTUPS: 5.0,
    Disposition.RETRY_FORWARD: 0.5,
    Disposition.PENALIZED: 60.0,
    Disposition.HOLD: 30.0,
    Disposition.EXIT: 30.0,
}


def _spread(first: float, doublings: int, cap: float, roll: float) -> float:
    return min(cap, first * 2.0**doublings * (1.0 + _SPREAD * roll))
