"""Proxies for the tests: Debian's tinyproxy and microsocks, and servers that follow a script to the byte."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.rigs import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    Script = Callable[[socket.socket], None]


@contextlib.contextmanager
def tinyproxy(folder: Path, *lines: str) -> Iterator[int]:
    """Run tinyproxy with further lines of tinyproxy.conf(5), such as `ConnectPort 443`; gives its port."""
    program = processes.need_program("tinyproxy", package="tinyproxy-bin")
    port, file = processes.free_port(), folder / "tinyproxy.conf"
    file.write_text("\n".join([f"Port {port}", "Listen 127.0.0.1", "Timeout 60", "LogLevel Info", *lines, ""]))
    with _running([program, "-d", "-c", str(file)], port, folder / "tinyproxy.log"):
        yield port


@contextlib.contextmanager
def microsocks(folder: Path, *options: str) -> Iterator[int]:
    """Run microsocks with further options, such as `-u`, user, `-P`, password; gives its port."""
    program = processes.need_program("microsocks", package="microsocks")
    port = processes.free_port()
    argv = [program, "-i", "127.0.0.1", "-p", str(port), *options]
    with _running(argv, port, folder / "microsocks.log"):
        yield port


@contextlib.contextmanager
def _running(argv: Sequence[str], port: int, log: Path) -> Iterator[None]:
    process = processes.start(argv, log=log)
    try:
        processes.wait_until(lambda: processes.listens(port), what=f"{argv[0]} listens on {port}: see {log}")
        yield
    finally:
        processes.end(process)


class Scripted:
    """A server on a free loopback port that plays `script` for one connection after another, in its own thread.

    The connection is closed when the script returns; what a script raises is raised again by `stop`, but for
    OSError: the other side may leave when it likes.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._open: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                if self._stopping.is_set():
                    return
                self._open = connection
                try:
                    self._script(connection)
                except OSError:
                    pass
                except BaseException as failure:  # noqa: BLE001  belongs to the test, not to this thread
                    self._failure = failure
                    return

    def stop(self) -> None:
        """End the thread, with the connection that it may be serving."""
        self._stopping.set()
        if self._open is not None:
            with contextlib.suppress(OSError):
                self._open.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        self._thread.join(10)
        self._listener.close()
        assert not self._thread.is_alive(), "the script does not end"
        if self._failure is not None:
            raise self._failure


def read_head(connection: socket.socket) -> bytes:
    """Read a request up to its empty line."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        more = connection.recv(1)
        if not more:
            raise ConnectionResetError(head)
        head += more
    return head


def read_exactly(connection: socket.socket, size: int) -> bytes:
    """Read so many bytes."""
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionResetError(data)
        data += more
    return data


def until_closed(connection: socket.socket) -> bytes:
    """Read to the end."""
    data = bytearray()
    while more := connection.recv(65536):
        data += more
    return bytes(data)


def inside_tls(context: ssl.SSLContext, script: Script) -> Script:
    """Return a script that plays `script` inside TLS."""

    def play(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            script(tls)

    return play


def certified(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Make a certificate for 127.0.0.1: the server's context, and the file of the authority that signed it."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests of ioconnect")])
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .add_extension(_key_usage(), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    authority, private = folder / "ca.pem", folder / "key.pem"
    authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, private)
    return context, authority


def _key_usage() -> x509.KeyUsage:
    names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign")
    others = dict.fromkeys((*names, "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=True, key_cert_sign=True, **others)
