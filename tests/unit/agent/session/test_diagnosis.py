"""The fault of a session from what is known at its end: its class decides the backoff, its hint what a user does."""

from __future__ import annotations

import itertools

import pytest

from ioconnect.agent.session.diagnosis import (
    SessionEnd,
    Stage,
    auth_refused,
    diagnose,
    host_key_fault,
    keepalive_timeout,
    sign_in_timeout,
)
from ioconnect.agent.session.refusal import forward_fault
from ioconnect.config.addresses import HostPort
from ioconnect.config.configuration import Tunnel
from ioconnect.disposition import Disposition
from ioconnect.errors import (
    AlgorithmsMismatch,
    AuthRefused,
    BannerTimeout,
    ConnectionLost,
    Fault,
    ForwardNotPermitted,
    HostKeyChanged,
    HostKeyUnpinned,
    KeepaliveTimeout,
    KexTimeout,
    NameNotResolved,
    Penalized,
    PortBusy,
    TooManyConnections,
)
from ioconnect.keys.known_hosts import HostKeyStatus
from ioconnect.ssh.algorithms import MACS, NoSharedAlgorithm
from ioconnect.ssh.messages import ProtocolViolation

JUMPHOST = HostPort("jump.test", 50683)
TUNNEL = Tunnel("orders", HostPort("jump.test", 58115), HostPort("localhost", 3306))
ERRORS = [
    None,
    EOFError(),
    ConnectionResetError(104, "Connection reset by peer"),
    OSError("no number"),
    ProtocolViolation("a packet of 7 bytes"),
    ValueError("bad\x1b[0m"),
    "what the library said",
]


def end(stage: Stage, *said: str, banner: bool = True, disconnect: str = "") -> SessionEnd:
    return SessionEnd(JUMPHOST, "sshtunnel", stage, banner, said, disconnect)


@pytest.mark.parametrize(
    ("seen", "error", "message"),
    [
        (end(Stage.KEY_EXCHANGE, banner=False), None, "closed the connection before it introduced itself"),
        (
            end(Stage.KEY_EXCHANGE, "HTTP/1.1 400 Bad Request", "", banner=False),
            EOFError(),
            'closed the connection before it introduced itself, after saying "HTTP/1.1 400 Bad Request"',
        ),
        (
            end(Stage.KEY_EXCHANGE, "", "please wait", banner=False),
            ConnectionResetError(104, "Connection reset by peer"),
            'broke before it introduced itself, after saying "please wait": Connection reset by peer',
        ),
        (end(Stage.KEY_EXCHANGE), EOFError(), "closed the connection during the key exchange"),
        (end(Stage.SIGNING_IN), EOFError(), "closed the connection during the sign-in"),
        (end(Stage.SIGNED_IN), EOFError(), "jump.test:50683 closed the connection"),
        (
            end(Stage.SIGNED_IN),
            BrokenPipeError(32, "Broken pipe"),
            "the connection to jump.test:50683 broke: Broken pipe",
        ),
        (end(Stage.SIGNED_IN), ProtocolViolation("x"), "jump.test:50683 broke the SSH protocol: x"),
        (end(Stage.SIGNED_IN, disconnect="bye"), None, "jump.test:50683 ended the connection: bye"),
        (
            end(Stage.KEY_EXCHANGE, disconnect="no"),
            None,
            "jump.test:50683 ended the connection during the key exchange: no",
        ),
    ],
)
def test_the_message_of_a_lost_connection(seen: SessionEnd, error: BaseException | None, message: str) -> None:
    fault = diagnose(seen, error)

    assert isinstance(fault, ConnectionLost)
    assert fault.message.endswith(message)


@pytest.mark.parametrize(
    ("stage", "banner", "error"),
    list(itertools.product(Stage, (True, False), ERRORS)),
    ids=lambda value: repr(value)[:30],
)
def test_whatever_ends_a_session_has_a_printable_reason(
    stage: Stage, error: BaseException | str | None, *, banner: bool
) -> None:
    """In every stage: a retry, one printable line without gaps, and something to do.

    In mid sign-in a slow one: sshd counts it against this address (PerSourcePenalties).
    """
    fault = diagnose(end(stage, banner=banner), error)

    assert isinstance(fault, ConnectionLost)
    is_cut = stage is Stage.SIGNING_IN and banner
    assert fault.disposition is (Disposition.SIGN_IN_CUT if is_cut else Disposition.RETRY)
    assert fault.message.isprintable()
    assert "jump.test:50683" in fault.message
    assert "  " not in fault.message
    assert " :" not in fault.message
    assert ("50683" in fault.hint) == (not banner), "no banner: perhaps it is the wrong port"


def test_a_fault_is_its_own_reason() -> None:
    fault = NameNotResolved("no such name")

    assert diagnose(end(Stage.KEY_EXCHANGE, "Exceeded MaxStartups", banner=False), fault) is fault


@pytest.mark.parametrize(
    ("said", "kind", "disposition"),
    [
        ("Exceeded MaxStartups", TooManyConnections, Disposition.MAX_STARTUPS),
        ("Not allowed at this time", Penalized, Disposition.PENALIZED),
    ],
)
@pytest.mark.parametrize("error", ERRORS, ids=lambda value: repr(value)[:20])
def test_refusals_before_the_banner(
    said: str, kind: type[Fault], disposition: Disposition, error: BaseException | str | None
) -> None:
    """However sshd closes after it; but not the same text after the banner."""
    fault = diagnose(end(Stage.KEY_EXCHANGE, "hello", said, banner=False), error)

    assert type(fault) is kind
    assert fault.disposition is disposition
    assert said in fault.message
    assert isinstance(diagnose(end(Stage.KEY_EXCHANGE, said), error), ConnectionLost)


def test_too_many_failures_is_a_refused_key() -> None:
    """Sshd disconnects with that text after MaxAuthTries; the same words in another stage are none."""
    text = "Too many authentication failures"
    fault = diagnose(end(Stage.SIGNING_IN, disconnect=text), None)

    assert isinstance(fault, AuthRefused)
    assert text in fault.message
    assert isinstance(diagnose(end(Stage.SIGNED_IN, disconnect=text), None), ConnectionLost)


def test_a_refused_key_names_the_account() -> None:
    fault = auth_refused(JUMPHOST, "sshtunnel")

    assert fault.message == "jump.test:50683 does not accept this machine's key for sshtunnel"
    assert fault.disposition is Disposition.HOLD


def test_a_replaced_key_needs_a_restart_where_systemd_handed_the_old_one_over() -> None:
    """`reconnect` alone signs in with the copy from the service's start."""
    assert "systemctl restart ioconnect" in auth_refused(JUMPHOST, "sshtunnel", is_copy=True).hint
    assert "systemctl" not in auth_refused(JUMPHOST, "sshtunnel").hint


@pytest.mark.parametrize("verdict", [HostKeyStatus.UNPINNED, HostKeyStatus.CHANGED])
def test_after_a_new_pin_it_is_tried_again_at_once(verdict: HostKeyStatus) -> None:
    """Else the old complaint stays until the next try, minutes later."""
    tunnel = Tunnel("orders", HostPort("jump.test", 58115), HostPort("localhost", 3306))

    assert "then `ioconnect reconnect orders`" in host_key_fault(tunnel, verdict, "SHA256:x", ()).hint


def test_sign_in_timeout() -> None:
    assert isinstance(sign_in_timeout(end(Stage.KEY_EXCHANGE, banner=False), 30), BannerTimeout)
    fault = sign_in_timeout(end(Stage.KEY_EXCHANGE), 30)
    assert isinstance(fault, KexTimeout)
    assert fault.message == "jump.test:50683 did not finish the key exchange within 30 s"
    assert "ping -M do -s 1472 jump.test" in fault.hint
    assert (
        sign_in_timeout(end(Stage.SIGNING_IN), 30).message == "jump.test:50683 did not finish the sign-in within 30 s"
    )


@pytest.mark.parametrize(
    ("verdict", "kind"),
    [
        (HostKeyStatus.UNPINNED, HostKeyUnpinned),
        (HostKeyStatus.CHANGED, HostKeyChanged),
        (HostKeyStatus.REVOKED, HostKeyChanged),
    ],
)
def test_host_keys(verdict: HostKeyStatus, kind: type[Fault]) -> None:
    """The fingerprint that was shown is in the message; the hint has the way to accept one, but not that one."""
    fault = host_key_fault(TUNNEL, verdict, "SHA256:shown", ("SHA256:pinned",))

    assert type(fault) is kind
    assert "SHA256:shown" in fault.message
    assert "ioconnect pin orders" in fault.hint
    assert "SHA256:shown" not in fault.hint
    assert "ompare" in fault.hint
    assert ("revoked" in fault.message) == (verdict is HostKeyStatus.REVOKED)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ([], PortBusy),
        (["key options: permitlisten port-forwarding"], PortBusy),
        (["Address already in use"], PortBusy),
        (["Server has disabled port forwarding."], ForwardNotPermitted),
        (["noise", "port forwarding refused"], ForwardNotPermitted),
    ],
)
def test_a_refused_port(said: list[str], kind: type[Fault]) -> None:
    """OpenSSH explains what is not permitted, and nothing else: without an explanation the port is busy."""
    fault = forward_fault(TUNNEL, said)

    assert type(fault) is kind
    assert "58115" in fault.message


@pytest.mark.parametrize("server", ["SSH-2.0-dropbear_2022.83", "SSH-2.0-AsyncSSH_2.24.1", ""])
def test_a_server_that_never_explains_is_not_said_to_have_the_port_in_use(server: str) -> None:
    fault = forward_fault(TUNNEL, [], server)

    assert isinstance(fault, PortBusy)
    assert "does not say why" in fault.message
    assert "may not have that port" in fault.hint
    assert "held by another session" in forward_fault(TUNNEL, [], "SSH-2.0-OpenSSH_9.2p1 Debian-2").message


def test_nothing_in_common_names_both_lists_and_recommends_none() -> None:
    """It is no lost connection, and does not mend itself; and nothing that was said is authenticated yet."""
    fault = diagnose(end(Stage.KEY_EXCHANGE), NoSharedAlgorithm("MAC", ["hmac-md5", "hmac-sha2-256"], MACS))

    assert isinstance(fault, AlgorithmsMismatch)
    assert fault.disposition is Disposition.HOLD
    assert fault.message == (
        "jump.test:50683 has no MAC in common: it offers hmac-md5, hmac-sha2-256; we offer "
        "hmac-sha2-512-etm@openssh.com, hmac-sha2-256-etm@openssh.com"
    )
    assert "hmac" not in fault.hint
    assert "somebody in between" in fault.hint


def test_a_short_host_key_is_refused() -> None:
    fault = host_key_fault(TUNNEL, HostKeyStatus.TOO_SHORT, "SHA256:shown", ())

    assert isinstance(fault, AlgorithmsMismatch)
    assert "less than 2048 bits" in fault.message


def test_keepalive_timeout() -> None:
    fault = keepalive_timeout(JUMPHOST, 19.6)

    assert isinstance(fault, KeepaliveTimeout)
    assert fault.message == "jump.test:50683 has not answered for 20 s"
