"""Inspects this machine: its service managers, accounts, and the command that starts ioconnect. Changes nothing."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import ioconnect
from ioconnect.config.addresses import quoted
from ioconnect.config.paths import site_paths
from ioconnect.custody import readers
from ioconnect.custody.entries import custody_of
from ioconnect.errors import SystemRefused, UsageFault
from ioconnect.installers.programs import run
from ioconnect.installers.service import Kind

PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
FOLDER_VARIABLES = ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")  # platformdirs reads them
LINGER = Path("/var/lib/systemd/linger")
_ACCOUNT = re.compile(r"\w[\w.@\\-]{0,255}\$?")  # no option, no blank, and nothing that ends a line
# In /proc/PID/status (proc_pid_status(5)): of a process whose uids are all root's, its name.
_NAME_OF_ROOTS = re.compile(rb"Name:\t([^\n]*)\n(?:[^\n]+\n)*?Uid:\t0\t0\t0\t0\n")
_ADMIN_PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin"  # also where `su` leaves these out of PATH
_PACKAGE = re.compile(r"[A-Za-z0-9._-]+")
CRON_DAEMONS = {"cron", "crond", "fcron", "dcron", "anacron", "bcron-exec"}


@dataclass(frozen=True, slots=True)
class Account:
    """An account that runs the agent."""

    name: str
    uid: int
    gid: int
    home: Path
    groups: frozenset[int]


def account(name: str | None = None) -> Account:
    """Return the named account, or this process's. Raises UsageFault if it does not exist."""
    try:
        entry = pwd.getpwuid(os.geteuid()) if name is None else pwd.getpwnam(name)
    except KeyError as error:
        who = f"uid {os.geteuid()}" if name is None else name
        raise UsageFault(
            f"there is no account {who} on this machine",
            hint=f"Make one, for example: {_make_account()}",
        ) from error
    groups = frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir), groups)


def _make_account() -> str:
    """Return the command of this system that makes an account with a home folder, which the agent's state is in."""
    if sys.platform == "darwin":
        return "sudo sysadminctl -addUser NAME -shell /usr/bin/false"
    if shutil.which("useradd", path=_ADMIN_PATH):
        return "sudo useradd --system --create-home --shell /usr/sbin/nologin NAME"
    if sys.platform.startswith("freebsd"):
        return "pw useradd NAME -m -s /usr/sbin/nologin"
    return "adduser -S -h /var/lib/NAME -s /sbin/nologin NAME"  # BusyBox, as on Alpine


def check_account_name(name: str | None) -> None:
    """Raise UsageFault for a name that a command line, a unit or a crontab might take for something else."""
    if name is not None and not _ACCOUNT.fullmatch(name):
        raise UsageFault(f"{quoted(name)} is not the name of an account", hint="Name an account of this machine.")


def as_account(name: str, command: tuple[str, ...], variables: tuple[str, ...] = ()) -> str:
    """Return the line with which root runs a command as the account, by a program that this machine has.

    `variables` (NAME=value) are set for it, but for HOME and PATH, which the account has. It gets none of root's, and
    of runuser(1) a terminal of its own (`--pty`): in root's it could type (TIOCSTI of ioctl_tty(2)). sudo(8) does
    the same where its `env_reset` and `use_pty` are set.
    """
    own = tuple(each for each in variables if not each.startswith(("HOME=", "PATH=")))
    command = (*(("env", *own) if own else ()), *command)
    quoted_name = shlex.quote(name)
    runuser = shutil.which("runuser") or shutil.which("runuser", path=_ADMIN_PATH)
    if runuser:
        return f"env -i {runuser} --pty -u {quoted_name} -- {shlex.join(command)}"
    sudo = "sudo" if shutil.which("sudo") else shutil.which("sudo", path=_ADMIN_PATH)
    if sudo:
        return f"{sudo} -u {quoted_name} -- {shlex.join(command)}"
    shell = "-s /bin/sh" if sys.platform == "linux" else "-m"  # the account's own may be nologin
    return f"env -i su {shell} {quoted_name} -c {shlex.quote(shlex.join(command))}"


def default_kind() -> Kind:
    """Return the default kind of service for this machine and this user."""
    root = os.geteuid() == 0
    if sys.platform == "darwin":
        return Kind.LAUNCHD_DAEMON if root else Kind.LAUNCHD_AGENT
    if Path("/run/systemd/system").is_dir():  # sd_booted(3)
        return Kind.SYSTEMD if root else Kind.SYSTEMD_USER
    return Kind.CRON


def systemd_version() -> int | None:
    """Return the version of this machine's systemd, None if it has none or the version is unknown."""
    try:
        output = run(("systemctl", "--version"), timeout=20).stdout
    except SystemRefused:
        return None
    found = re.match(rb"systemd (\d+)", output)
    return int(found.group(1)) if found else None


def program() -> tuple[str, ...]:
    """Return the command that starts this ioconnect, with paths that stay valid when the interpreter is updated.

    The console script, else the interpreter as it was called: in a virtual environment a symlink, which is not
    resolved.
    """
    folders = [Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))]
    for folder in folders:
        script = folder / "ioconnect"
        if script.is_file() and os.access(script, os.X_OK):
            return (str(script.absolute()),)
    safe_path = ("-P",) if sys.version_info >= (3, 11) else ()  # never import ioconnect.py from the working folder
    return (sys.executable, *safe_path, "-m", "ioconnect")


def program_files(command: tuple[str, ...]) -> list[Path]:
    """Return the paths that the command needs: itself, its interpreter, the libraries, and this package."""
    found = [*_symlink_chain(Path(command[0])), *_symlink_chain(Path(sys.executable))]
    found += [Path(sys.prefix), Path(sys.base_prefix), Path(ioconnect.__file__).parent]
    return list(dict.fromkeys(found))


def closed_program(command: tuple[str, ...], who: Account | None) -> list[tuple[Path, bool]]:
    """Return all that the command needs and the account may not read, outermost first.

    Instead of what is closed in one folder of programs, that folder, with True.
    """
    reader, is_virtual = reader_of(who), sys.prefix != sys.base_prefix
    package = Path(os.path.realpath(Path(ioconnect.__file__).parent))
    libraries = {Path(os.path.realpath(entry)) for entry in sys.path if entry.endswith(("-packages", "-packages/"))}
    prefix = Path(os.path.realpath(sys.prefix))
    own = [each for each in libraries if is_virtual and prefix in each.parents]
    walked = [package, *(own or _dependencies())]
    loaded = [Path(file) for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))]
    needed = [*program_files(command), *walked, *loaded, *([prefix / "pyvenv.cfg"] if is_virtual else [])]
    found = [part for path in dict.fromkeys(needed) for part in readers.closed(reader, path)]
    found += [part for folder in walked for part in readers.closed_below(reader, folder)]
    trees = {package, *libraries, *([prefix] if is_virtual else [])}
    outermost: dict[Path, bool] = {}
    for part in sorted(set(found), key=lambda each: len(each.parts)):
        around = [tree for tree in trees if tree == part or tree in part.parents]
        outermost.setdefault(min(around, key=lambda tree: len(tree.parts), default=part), bool(around))
    return list(outermost.items())


def _dependencies() -> list[Path]:
    """Return the folders of what ioconnect depends on, as the metadata of the packages say; for a shared library."""
    from importlib import metadata  # noqa: PLC0415  brings email, which would be a fifth of the start of `status`

    found: dict[Path, None] = {}
    names = ["ioconnect"]
    for name in names:
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # for another system or Python
            continue
        required = [each for each in distribution.requires or () if "extra ==" not in each]
        names += [each for each in map(_name_of_package, required) if each not in names]
        tops = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
        found.update((path, None) for top in tops if (path := Path(str(distribution.locate_file(top)))).is_dir())
    return list(found)


def _name_of_package(requirement: str) -> str:
    """Return the name that a requirement begins with (PEP 508), in its normal form (PEP 503)."""
    found = _PACKAGE.match(requirement)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


def reader_of(who: Account | None) -> readers.Reader:
    """Return the account as files are judged for it; `who` None is an account without rights of its own."""
    return readers.Reader(None) if who is None else readers.Reader(who.uid, who.groups)


def unreadable_for(path: Path, who: Account | None) -> Path | None:
    """Return the first part of the path that the account may not enter or read; None if it can.

    `who` None is an account without rights of its own. A path that does not exist counts as readable.
    """
    return next(iter(readers.closed(reader_of(who), path)), None)


def opening(folder: Path, mode: str) -> str:
    """Return the command that opens a folder to the service's account, with "or " after it; "" if it is somebody's.

    A home folder, or another account's, is not opened to all accounts of the machine for a service.
    """
    if folder.stat().st_uid != 0 or any(folder == Path(account.pw_dir) for account in pwd.getpwall()):
        return ""
    return f"open it (chmod {mode} {shlex.quote(str(folder))}), or "


def opening_command(path: Path, *, is_tree: bool) -> str:
    """Return the command that opens what the program needs, or a whole folder of programs; "" as `opening`."""
    if not opening(path, "o+rX"):
        return ""
    return f"chmod {'-R ' if is_tree else ''}o+rX {shlex.quote(str(path))}"


def how_to_give(key: Path, closed: Path, account: str | None, config: Path) -> str:
    """Return how the account gets the key, of whose path it may not read `closed`.

    No command of root's for a path that another account may lead elsewhere, to /etc/shadow for example.
    """
    custody = custody_of(key)
    if custody is not None:
        return (
            f"Root is to give away nothing there, as {custody.description}: let {account} make a key of its own "
            f"(`ioconnect keygen` as that account), register that, and name it as `identity` in {config}."
        )
    give = f"sudo chown {account} {shlex.quote(str(key))}"
    if closed == Path(os.path.realpath(key)):
        return f"Give it the key: {give}"
    opened = opening(closed, "o+x")
    if opened:
        return f"Give it the key: {give}; and {opened.removesuffix(', or ')}."
    folder = site_paths().config.parent
    copy = shlex.join(("sudo", "install", "-o", str(account), "-m", "600", str(key), str(folder / key.name)))
    return (
        f"Give it a copy where it may read it: sudo mkdir -p {shlex.quote(str(folder))} && {copy}; "
        f"and name that as `identity` in {config}."
    )


def lingers(name: str) -> bool:
    """Say whether the user's services run while the user is not logged in (loginctl(1), enable-linger)."""
    return (LINGER / name).exists()


def is_cron_running() -> bool:
    """Say whether root runs a cron daemon according to /proc; True without Linux's /proc."""
    commands = list(Path("/proc").glob("[0-9]*/comm"))
    return not commands or any(_name_of_roots(command.with_name("status")) in CRON_DAEMONS for command in commands)


def proxy_in_environment() -> str | None:
    """Return the name of the set proxy variable, which a service does not inherit; None without one."""
    return next((name for name in PROXY_VARIABLES if os.environ.get(name)), None)


def folder_variables() -> tuple[tuple[str, str], ...]:
    """Return the set variables that determine this user's folders."""
    return tuple((name, os.environ[name]) for name in FOLDER_VARIABLES if os.environ.get(name))


def _name_of_roots(path: Path) -> str:
    """Return the name of a process of root's by its status in /proc; "" for another account's, which may be anything.

    A program that runs with root's rights for another account has that account's real uid.
    """
    try:
        found = _NAME_OF_ROOTS.match(path.read_bytes())
    except OSError:  # the process has exited
        return ""
    return found[1].decode("utf-8", "replace") if found else ""


def _symlink_chain(path: Path) -> list[Path]:
    """Return the path and every target of its symlinks."""
    found = [path]
    for _ in range(40):  # as many as Linux follows (path_resolution(7))
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
        found.append(path)
    return [*found, Path(os.path.realpath(path))]
