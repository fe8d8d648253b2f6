"""This machine is out of descriptors, threads or memory: that passes, and is no fault of the tunnel that meets it.

Pure.
"""

from __future__ import annotations

import errno
from typing import Final

from ioconnect.errors import ConnectionLost, Fault
from ioconnect.escape import escaped

_AGAIN: Final = "; the agent tries again by itself."
_MEMORY: Final = "Free memory, or raise MemoryMax= of its unit" + _AGAIN
_HINTS: Final = {
    errno.EMFILE: "Raise LimitNOFILE= of its unit, or `ulimit -n` where it is started" + _AGAIN,
    errno.ENFILE: "Raise fs.file-max (sysctl): all programs of this machine together are at it" + _AGAIN,
    errno.ENOSPC: "Raise fs.epoll.max_user_watches (sysctl): this account's programs together are at it" + _AGAIN,
    errno.EAGAIN: "Raise TasksMax= of its unit, or the account's `ulimit -u`" + _AGAIN,
    errno.ENOBUFS: _MEMORY,
    errno.ENOMEM: _MEMORY,
}


def shortage(error: BaseException | None) -> int | None:
    """Return the errno of an error that says that this machine is out of something, None for any other.

    EAGAIN is for threads, as pthread_create(3) says it. Of a Fault its cause counts.
    """
    if isinstance(error, Fault):
        error = error.__cause__
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return errno.EAGAIN
    code = error.errno if isinstance(error, OSError) else None
    return code if code in _HINTS and code != errno.EAGAIN else None


def cannot_start(error: BaseException) -> ConnectionLost:
    """Return the fault of a session that `error` kept from starting; its text is escaped."""
    code = shortage(error)
    text = (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip()
    return ConnectionLost(
        f"cannot start a session: {escaped(text)}",
        hint="Please report it, with the log." if code is None else _HINTS[code],
    )
