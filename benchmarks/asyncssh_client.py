"""The contestant asyncssh: `python -m benchmarks.asyncssh_client SSH_PORT USER KEY … LISTEN_PORT…`.

One connection a listening port, all in one process, with the cipher that serves it best.
"""

from __future__ import annotations

import asyncio
import sys

import asyncssh

from benchmarks.processes import LOOPBACK


async def _forward(arguments: list[str]) -> None:
    ssh_port, user, key, known_hosts, keepalive, target_port, *listen_ports = arguments
    connections = []
    for listen_port in listen_ports:
        connection = await asyncssh.connect(
            LOOPBACK,
            int(ssh_port),
            config=None,
            username=user,
            client_keys=[key],
            agent_path=None,
            known_hosts=known_hosts,
            encryption_algs=["aes128-gcm@openssh.com"],
            keepalive_interval=int(keepalive),
        )
        await connection.forward_remote_port("localhost", int(listen_port), LOOPBACK, int(target_port))
        connections.append(connection)
    await asyncio.gather(*(connection.wait_closed() for connection in connections))


if __name__ == "__main__":
    asyncio.run(_forward(sys.argv[1:]))
