"""Ours beside OpenSSH's client, asyncssh and plain TCP, on the same sshd in the same run: `python -m benchmarks`.

Linux only (it reads /proc). Needs openssh-server and openssh-client, the extra `bench` (asyncssh) and, for the
pgbench rows, PostgreSQL's programs; whatever is missing is left out and said so. Everything stays on loopback.

Another OpenSSH is measured by putting its bin and sbin folders first in PATH.
"""
