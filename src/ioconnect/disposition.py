"""What the agent does after a fault.

Pure.
"""

from __future__ import annotations

from enum import Enum


class Disposition(Enum):
    """What the agent does after a fault; each but EXIT is a retry class of `agent.tunnel.backoff`."""

    RETRY = "retry"  # transient network fault: soon, then at most 15 s apart
    MAX_STARTUPS = "max_startups"  # the jumphost has too many unauthenticated connections: 5 to 20 s
    PENALIZED = "penalized"  # the jumphost refuses this address for now (PerSourcePenalties): at least a minute
    SIGN_IN_CUT = "sign_in_cut"  # the connection ended in mid sign-in: once soon, then as slow as a refusal
    HOLD = "hold"  # the jumphost refused key, host key or forward: slow retries until somebody changes something
    RETRY_FORWARD = "retry_forward"  # authenticated, port in use: repeat tcpip-forward on the same session
    EXIT = "exit"  # local fault: exit at once with the fault's exit code
