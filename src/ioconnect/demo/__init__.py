"""The demo: sets up, uses and interrupts a tunnel on this machine, without any configuration.

`scenario` has the steps, `environment` the servers and files, `database` the tunnel's target. Importing this loads
paramiko.
"""

from __future__ import annotations

from ioconnect.demo.scenario import run

__all__ = ["run"]
