"""The answers that the options of `setup` give, and which are missing where nobody can be asked.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ioconnect.errors import UsageFault

EXAMPLE = (
    "ioconnect setup --endpoint virginia-tunnel.flydata.app:58115 --to localhost:3306 "
    "--fingerprint SHA256:… --service"
)


@dataclass(frozen=True, slots=True)
class Draft:
    """What was answered about a tunnel before its database is known."""

    endpoint: str | None = None
    paste: str | None = None
    ssh_port: int | None = None
    ssh_user: str | None = None
    proxy: str | None = field(default=None, repr=False)  # may hold a password


@dataclass(frozen=True, slots=True)
class Answers:
    """The answer to each question; None is open. Without `start` no agent is started.

    With `resumed` the endpoint is from a run that was interrupted.
    """

    name: str | None = None
    endpoint: str | None = None
    paste: str | None = None
    target: str | None = None
    ssh_port: int | None = None
    ssh_user: str | None = None
    proxy: str | None = field(default=None, repr=False)
    fingerprint: str | None = None
    yes: bool = False
    service: bool | None = None
    run_as: str | None = None
    start: bool = True
    resumed: bool = False

    @property
    def describe_a_tunnel(self) -> bool:
        """Whether one of them is about the tunnel itself."""
        said = (self.endpoint, self.paste, self.target, self.ssh_port, self.ssh_user, self.proxy)
        return any(each is not None for each in said)

    def resuming(self, draft: Draft | None) -> Answers:
        """Return these, completed by an interrupted run's draft unless they name an endpoint themselves."""
        if draft is None or self.endpoint is not None or self.paste is not None:
            return self
        return replace(
            self,
            endpoint=draft.endpoint,
            paste=draft.paste,
            ssh_port=self.ssh_port or draft.ssh_port,
            ssh_user=self.ssh_user or draft.ssh_user,
            proxy=draft.proxy if self.proxy is None else self.proxy,
            resumed=True,
        )

    def draft(self, paste: str | None) -> Draft:
        """Return what to keep in case of an interruption; `paste` is what the options or a person gave."""
        return Draft(self.endpoint, paste, self.ssh_port, self.ssh_user, self.proxy)


@dataclass(frozen=True, slots=True)
class OpenQuestions:
    """Which questions neither the answers nor what is set up already answer."""

    endpoint: bool
    target: bool
    host_key: bool
    service: bool
    account: bool

    def check_none(self) -> None:
        """Raise UsageFault with the option for every open question, if there is one."""
        options = {
            "--endpoint HOST:PORT (or --paste TEXT)": self.endpoint,
            "--to HOST:PORT": self.target,
            "--fingerprint SHA256:… (or --yes)": self.host_key,
            "--service or --no-service": self.service,
            "--run-as ACCOUNT (root's rights are not needed)": self.account,
        }
        missing = [option for option, is_open in options.items() if is_open]
        if missing:
            raise UsageFault(
                f"nobody can be asked, this is not a terminal; missing: {', '.join(missing)}",
                hint=f"Like: {EXAMPLE}\n`ioconnect keygen` prints the public key to hand over before.",
            )
