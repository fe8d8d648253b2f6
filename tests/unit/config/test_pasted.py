"""Parsing of pasted text: its tunnels, or the fault that says why there is none."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ioconnect.config.addresses import HostPort, SocketPath
from ioconnect.config.pasted import Pasted, parse, parse_all
from ioconnect.errors import ExitCode, UsageFault

HOME = {"HOME": "/home/me", "USER": "me"}
JUMP = "virginia-tunnel.flydata.app"
OPTIONS = '-p 50683 -o "ExitOnForwardFailure yes" -o ServerAliveInterval=10 -o ServerAliveCountMax=1'
REST = f"58115:localhost:3306 sshtunnel@{JUMP} -i ~/.ssh/integrateio_reverse {OPTIONS}"
VENDORS = Pasted(
    endpoint=HostPort(JUMP, 58115),
    target=HostPort("localhost", 3306),
    ssh_port=50683,
    ssh_user="sshtunnel",
    identity="/home/me/.ssh/integrateio_reverse",
    keepalive_interval=10.0,
    keepalive_count_max=1,
)
UNIT = f"""
[Unit]
Description=Integrate.io Reverse SSH Tunnel by autossh
After=network-online.target

[Service]
Type=simple
User=me
ExecStart=/usr/bin/autossh -M 0 -N -R 58115:localhost:3306 sshtunnel@{JUMP} -i %h/.ssh/integrateio_reverse {OPTIONS}
Environment="AUTOSSH_GATETIME=0"
Restart=always

[Install]
WantedBy=multi-user.target
"""
# What the vendor's page shows, word for word but for the placeholders of two of them.
VENDORS_LINES = [
    f"ssh -NR {REST} -v",
    f"AUTOSSH_GATETIME=0 autossh -M 0 -f -N -R {REST}",
    f"@reboot AUTOSSH_GATETIME=0 autossh -M 0 -f -N -R {REST}",
    f"ExecStart=/usr/bin/autossh -M 0 -N -R {REST}",
    UNIT,
]
IN_OTHER_CLOTHES = [
    f"$ ssh -NR {REST}",
    f"  ssh   -N  -R\t{REST}  \r\n",
    f"sudo -u me ssh -NR {REST}",
    f"sudo -u autossh autossh -M 0 -NR {REST}",
    f"nohup ssh -NR {REST} >/dev/null 2>&1 &",
    f"nohup ssh -NR {REST} 2> /tmp/log > /tmp/out < /dev/null &",
    f"exec /usr/local/bin/ssh -NTfR {REST}",
    f"env AUTOSSH_GATETIME=0 AUTOSSH_PORT=0 autossh -M0 -fNR {REST}",
    f"cd /tmp && ssh -NR {REST}; sleep 5",
    f"while true; do ssh -NR {REST}; sleep 5; done",
    f"*/5 * * * * pgrep autossh || autossh -M 0 -f -N -R {REST}",
    f"@reboot me AUTOSSH_GATETIME=0 autossh -M 0 -f -N -R {REST}",
    f"@reboot autossh autossh -M 0 -f -N -R {REST}",
    f"0 4 * * 1-5 root /usr/bin/ssh -NR {REST}",
    f"@reboot sleep 30 && AUTOSSH_GATETIME=0 autossh -M 20000:7 -f -N -R {REST}",
    f"MAILTO=dba@example.com\n# don't touch\n@reboot ssh -NR {REST}\n17 * * * * run-parts /etc/cron.hourly\n",
    f"bash -c {shlex.quote('exec ssh -NR ' + REST)}",
    f"ExecStart=-/bin/sh -c {shlex.quote('exec ssh -NR ' + REST)}",
    f"[Service]\nExecStartPre=/bin/sleep 5\nExecStart = @/usr/bin/ssh \\\n   -N -R \\\n  {REST}\n",
    f"ssh \\\r\n -NR {REST}",
    f"ssh -NR {REST} -- ignored -R",
    f"ssh -NR {REST} sleep 999 -p 22",
    f"ssh -NR {REST} -p 22 -i other",
    f"ssh \u2013NR {REST}".replace('"', "\u201d").replace(" -p", "\u00a0-p"),
    f"\ufeffssh -NR {REST}",
    f"ssh -R 58115:localhost:3306 -i $HOME/.ssh/integrateio_reverse sshtunnel@{JUMP} {OPTIONS}",
    f"ssh -R 58115:localhost:3306 -i ${{HOME}}/.ssh/integrateio_reverse sshtunnel@{JUMP} {OPTIONS}",
    f"ssh -R 58115:localhost:3306 -i %d/.ssh/integrateio_reverse sshtunnel@{JUMP} {OPTIONS}",
    f"ssh -R 58115:localhost:3306 -i /home/$USER/.ssh/integrateio_reverse sshtunnel@{JUMP} {OPTIONS}",
    f"ssh -R '58115:localhost:3306' '-i/home/me/.ssh/integrateio_reverse' -lsshtunnel {JUMP} {OPTIONS}",
    f"ssh -NR *:58115:localhost:3306 sshtunnel@{JUMP} -i ~/.ssh/integrateio_reverse {OPTIONS}",
    f"ssh -NR :58115:localhost:3306 sshtunnel@{JUMP} -i ~/.ssh/integrateio_reverse {OPTIONS}",
    f"ssh -NR [::1]:58115:localhost:3306 sshtunnel@{JUMP} -i ~/.ssh/integrateio_reverse {OPTIONS}",
    f"ssh -NR localhost:58115:[localhost]:3306 sshtunnel@{JUMP} -i ~/.ssh/integrateio_reverse {OPTIONS}",
    f"ssh -NTR58115:localhost:3306 ssh://sshtunnel@{JUMP}:50683/ -i ~/.ssh/integrateio_reverse -p 22 {OPTIONS}",
    "ssh -N -o 'RemoteForward 58115 localhost:3306' -oUser=sshtunnel -oPort=50683 -o HostName="
    + JUMP
    + " -o 'IdentityFile ~/.ssh/integrateio_reverse' -o 'serveraliveinterval = 10' -oServerAliveCountMax='\"1\"' it",
]


@pytest.mark.parametrize("text", VENDORS_LINES + IN_OTHER_CLOTHES)
def test_it_is_the_vendors_tunnel(text: str) -> None:
    assert parse(text, environ=HOME) == VENDORS


@pytest.mark.parametrize(
    "text",
    [f"{JUMP}:58115", f"  {JUMP}:58115\n", f"Tunnel Endpoint: {JUMP}:58115", f"Tunnel Endpoint\n\n{JUMP}:58115\n"],
)
def test_the_endpoint_alone_will_do(text: str) -> None:
    assert parse(text) == Pasted(HostPort(JUMP, 58115), None, 50683, "sshtunnel")


def test_what_a_short_line_leaves_out_is_ssh_s_or_unknown() -> None:
    assert parse("ssh -R 1:db:2 jump") == Pasted(HostPort("jump", 1), HostPort("db", 2), 22, "sshtunnel")


def test_ipv6_goes_through() -> None:
    found = parse("ssh -NR [::1]:58115:[2001:db8::7]:3306 me@2001:db8::1 -p 22")

    assert found.endpoint == HostPort("2001:db8::1", 58115)
    assert found.target == HostPort("2001:db8::7", 3306)
    assert parse("ssh -NR 1:[::1]:2 ssh://me@[::2]:77").ssh_port == 77
    assert parse("ssh -NR 1:[::1]:2 ssh://me@[::2]").endpoint.host == "::2"


@pytest.mark.parametrize(
    ("option", "interval", "count"),
    [
        ("ServerAliveInterval=30", 30.0, None),
        ("ServerAliveInterval=1m30", 90.0, None),
        ("ServerAliveInterval=2H", 7200.0, None),
        ("ServerAliveInterval=0", None, None),
        ("ServerAliveInterval=52w", None, None),
        ("ServerAliveCountMax=3", None, 3),
        ("ServerAliveCountMax=0", None, None),
    ],
)
def test_keepalives_are_ssh_config_s_times(option: str, interval: float | None, count: int | None) -> None:
    found = parse(f"ssh -NR 1:db:2 jump -o {option}")

    assert (found.keepalive_interval, found.keepalive_count_max) == (interval, count)


@pytest.mark.parametrize(
    ("option", "known_hosts"),
    [
        ("UserKnownHostsFile=~/kh", "/home/me/kh"),
        ("'UserKnownHostsFile /a/kh /b/kh'", "/a/kh"),
        ("UserKnownHostsFile=/dev/null", None),
        ("UserKnownHostsFile=none", None),
        ("StrictHostKeyChecking=no", None),
    ],
)
def test_its_known_hosts_file_is_noted(option: str, known_hosts: str | None) -> None:
    assert parse(f"ssh -NR 1:db:2 jump -o {option}", environ=HOME).known_hosts == known_hosts


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("~", "/home/me"),
        ("~other/key", "~other/key"),
        ("$UNKNOWN/key", "$UNKNOWN/key"),
        ("/keys/100%%", "/keys/100%"),
        ("relative/key", "relative/key"),
        ("'/with a blank/key'", "/with a blank/key"),
        ("none", None),
    ],
)
def test_a_key_s_path_is_expanded_as_far_as_that_goes(written: str, expected: str | None) -> None:
    assert parse(f"ssh -NR 1:db:2 jump -i {written}", environ=HOME).identity == expected


def test_without_a_home_nothing_is_expanded() -> None:
    assert parse("ssh -NR 1:db:2 jump -i ~/key").identity == "~/key"
    assert parse("ssh -NR 1:db:2 jump -i %h/key").identity == "%h/key"


def test_what_goes_another_way_is_named() -> None:
    line = "ssh -NR 1:db:2 jump -J bastion -L 5:x:6 -o ProxyCommand='nc %h %p' -D 1080 -J again"

    assert parse(line).ignored == ("-J", "-L", "proxycommand", "-D")
    assert VENDORS.ignored == ()


def test_several_forwards_are_several_tunnels() -> None:
    line = "ssh -N -R 1:db:2 -R 3:other:4 -o 'RemoteForward 5 third:6' me@jump -p 7"

    assert [(str(one.endpoint), str(one.target)) for one in parse_all(line)] == [
        ("jump:1", "db:2"),
        ("jump:3", "other:4"),
        ("jump:5", "third:6"),
    ]
    with pytest.raises(UsageFault, match=r"3 tunnels: 1:db:2, 3:other:4, 5:third:6") as caught:
        parse(line)
    assert "import" in caught.value.hint


def test_a_file_of_many_lines_gives_every_tunnel_once() -> None:
    crontab = """
    SHELL=/bin/bash
    0 3 * * * rsync -aR --delete -e ssh /srv backup.example:/srv
    0 4 * * * ssh -z backup uptime
    0 5 * * * echo "don't ssh
    @reboot ssh -NR 1:db:2 jump
    #@reboot ssh -NR 9:db:9 jump
    */5 * * * * ssh -NR 1:db:2 jump
    @reboot ssh -NR 3:db:4 jump && ssh -NR 5:db:6 jump
    """

    assert [one.endpoint.port for one in parse_all(crontab)] == [1, 3, 5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "nothing was pasted"),
        (" \n\t", "nothing was pasted"),
        ("hello", "neither an ssh or autossh command nor a Tunnel Endpoint"),
        ("ssh-keyscan -p 50683 jump >> ~/.ssh/known_hosts", "neither"),
        ("ssh-keygen -t ed25519 -f key", "neither"),
        ("# ssh -NR 1:db:2 jump", "neither"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDHlTSlIVwL6 me", "neither"),
        ("sudo apt-get install autossh", "no -R"),
        ("ssh jump", "no -R"),
        ("ssh", "no -R"),
        ("ssh -NL 3306:localhost:3306 jump", "no -R"),
        ("ssh -NR 58115:localhost:3306", "jumphost is missing"),
        ("ssh -NR", "nothing after -R"),
        ("ssh -NR 1:db:2 jump -p", "nothing after -p"),
        ("ssh -NR 1:db:2 jump -o ''", "nothing after -o"),
        ("ssh -NR 1:db:2 jump -p 0", "number from 1 to 65535"),
        ("ssh -NR 1:db:2 jump -p abc", "number from 1 to 65535"),
        ("ssh -NR 0:db:2 jump", "number from 1 to 65535"),
        ("ssh -NR 65536:db:2 jump", "number from 1 to 65535"),
        ("ssh -NR 1:db:x jump", "number from 1 to 65535"),
        ("ssh -NR 1::2 jump", "host is empty"),
        ("ssh -NR 1080 jump", "PORT:HOST:HOSTPORT"),
        ("ssh -NR /run/a.sock:/run/mysqld.sock jump", "PORT:HOST:HOSTPORT"),
        ("ssh -NR 1:db:2:3:4 jump", "PORT:HOST:HOSTPORT"),
        ("ssh -NR 1:::1:2 jump", "PORT:HOST:HOSTPORT"),
        ("ssh -NR 1:db:2 me@", "host is empty"),
        ("ssh -NR 1:db:2 'me you@jump'", "user name"),
        ("ssh -NR 1:db:2 ju/mp", "not a host name"),
        ("ssh -NR 1:db:2 ssh://jump:x", "number from 1 to 65535"),
        ("ssh -NR 1:db:2 -z jump", "no option"),
        ("ssh -NR 1:db:2 --help jump", "no option"),
        ("ssh -NR 1:db:2 jump -o 'ExitOnForwardFailure", "quote is not closed"),
        ("ssh -NR 1:db:2 jump -o ServerAliveInterval=soon", "ServerAliveInterval"),
        ("ssh -NR 1:db:2 jump -o ServerAliveCountMax=many", "ServerAliveCountMax"),
        ("ssh -NR 1:db:2 jump -o Port", "number from 1 to 65535"),
        ("ssh -NR 1:db:2 jump -i 'a\x1bb'", "not a file's path"),
        (f"{JUMP}:0", "number from 1 to 65535"),
        (f"{JUMP}:65536", "number from 1 to 65535"),
        ("::1:58115", "in brackets"),
        (f"{JUMP}", "neither"),
        ("ssh -NR 1:db:2 jump\n" * 100_000, "longer than"),
    ],
)
def test_what_is_no_tunnel_says_why_and_shows_an_example(text: str, said: str) -> None:
    with pytest.raises(UsageFault) as caught:
        parse(text, environ=HOME)

    assert said in caught.value.message
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300
    assert "ssh -NR 58115:localhost:3306" in caught.value.hint
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize(
    ("text", "placeholder"),
    [
        (
            "ssh -NR <allocated_port>:<your-db-host>:<your-db-port> sshtunnel@<jumphost> -i <path-to-private-key>",
            "<allocated_port>",
        ),
        ("@reboot autossh -M 0 -f -N -R 58115:<your-db-host>:3306 sshtunnel@jump", "<your-db-host>"),
        (UNIT.replace(JUMP, "<jumphost>"), "<jumphost>"),
        (f"ssh -NR {REST}".replace("~/.ssh/integrateio_reverse", "/home/<your_user>/.ssh/key"), "<your_user>"),
        ("<jumphost>:<allocated_port>", "<jumphost>"),
    ],
)
def test_a_placeholder_of_the_page_is_named(text: str, placeholder: str) -> None:
    with pytest.raises(UsageFault, match="placeholder and was not filled in") as caught:
        parse(text)

    assert f'"{placeholder}"' in caught.value.message


def test_a_secret_looking_escape_does_not_reach_the_terminal() -> None:
    with pytest.raises(UsageFault) as caught:
        parse("\x1b[2J\x07rubbish")

    assert "\\x1b[2J\\x07rubbish" in caught.value.message


WORDS = r"""
ssh autossh -N -R -NR -p -o -i -l -J -M -M0 -- 1:db:2 [::1]:1:db:2 me@jump ssh:// ssh://a@b:1 Port= RemoteForward
' " \ ; && > 2> <x> ExecStart= @reboot ~/k $HOME % ( # : [ @ 58115 -oPort=1 sh -c 'ssh "ssh
"""
words = st.sampled_from([*WORDS.split(), "\n", "\0", "\ud800"])


@given(st.text() | st.lists(words | st.text(max_size=6), max_size=12).map(" ".join))
@example("ssh '")
@example("ssh \\")
@example("ssh -R 1:a:2 ssh://")
@example("ExecStart=")
@example("sh -c 'ssh -R' 'ssh -R \"'")
def test_no_text_at_all_is_a_traceback(text: str) -> None:
    message = ""
    try:
        found = parse_all(text, environ=HOME)
        assert found
        assert all(1 <= one.endpoint.port <= 65535 for one in found)
    except UsageFault as fault:
        message = fault.message
    assert message.isprintable()


@pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is not installed")
@pytest.mark.parametrize(
    "arguments",
    [
        f"-NR {REST}",
        "-p 1 -p 2 -l a -o User=b -R 1:db:2 c@jump",
        "-o Port=1 -p 2 -R 1:db:2 c@jump -l d",
        "-R 1:db:2 ssh://c@jump:7",
        "-p 3 -R 1:db:2 ssh://c@jump:7",
        "-NTp5 -R1:db:2 jump -la",
        "-o 'RemoteForward 1 db:2' -o HostName=other -lx jump",
        "-oServerAliveInterval=1m30 -oserveralivecountmax=4 -R [::1]:1:[::2]:2 a@::3",
        "-R 1:db:2 a@jump command -p 9",
        "-R 1:db:2 -- a@jump",
        "-R 1:db:2 a@b@jump",
    ],
)
def test_ssh_itself_reads_the_same(arguments: str) -> None:
    """`ssh -G` prints what it would do; ours agrees about host, port, user, times and forward."""
    done = subprocess.run(
        ["ssh", "-F", "none", "-G", *shlex.split(arguments)], capture_output=True, text=True, timeout=30, check=True
    )
    told: dict[str, str] = {}
    for said in done.stdout.splitlines():
        key, _, value = said.partition(" ")
        told.setdefault(key, value)

    found = parse(f"ssh {arguments}", environ=HOME)

    assert found.endpoint.host == told["hostname"]
    assert found.ssh_port == int(told["port"])
    assert found.ssh_user in (told["user"], "sshtunnel")
    assert (found.keepalive_interval or 0) == float(told["serveraliveinterval"])
    assert (found.keepalive_count_max or 3) == int(told["serveralivecountmax"])
    assert told["remoteforward"].split()[0].rpartition(":")[2] == str(found.endpoint.port)
    assert told["remoteforward"].split()[1].replace("[", "").replace("]", "") == str(found.target).replace(
        "[", ""
    ).replace("]", "")


@pytest.mark.parametrize(
    "forward",
    [
        "58115:/run/mysqld/mysqld.sock",
        "localhost:58115:/run/mysqld/mysqld.sock",
        "[::1]:58115:/run/mysqld/mysqld.sock",
        ":58115:/run/mysqld/mysqld.sock",
    ],
)
def test_a_forward_to_a_unix_socket(forward: str) -> None:
    """ssh(1): -R [bind_address:]port:local_socket."""
    pasted = [parse(f"ssh -N{option} sshtunnel@{JUMP}") for option in (f"R {forward}", f" -R{forward}")]
    pasted.append(parse(f"ssh -o 'RemoteForward {forward.replace(':/', ' /')}' sshtunnel@{JUMP}"))

    for found in pasted:
        assert found.target == SocketPath("/run/mysqld/mysqld.sock")
        assert found.endpoint == HostPort(JUMP, 58115)


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        (f"58115:/{'x' * 200}", "bytes"),
        ("0:/run/db.sock", "port"),
        ("/run/there.sock:/run/here.sock", "PORT:HOST:HOSTPORT"),
        ("/run/there.sock:localhost:3306", "PORT:HOST:HOSTPORT"),
    ],
)
def test_a_forward_from_or_to_a_socket_that_cannot_be(forward: str, said: str) -> None:
    with pytest.raises(UsageFault, match=said):
        parse(f"ssh -NR {forward} sshtunnel@{JUMP}")
