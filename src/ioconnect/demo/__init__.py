"""`demo`: a tunnel's whole life on this machine, with nothing set up.

`story` is what is shown, `stage` what it is played on, `database` the service at its far end. Importing this loads
paramiko.
"""

from __future__ import annotations

from ioconnect.demo.story import run

__all__ = ["run"]
