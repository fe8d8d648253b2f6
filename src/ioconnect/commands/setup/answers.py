"""What the command line of `setup` says beforehand, and which answers are missing where nobody can be asked.

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
    """A tunnel that is not whole yet: all that was said about it, but where its database is."""

    endpoint: str | None = None
    paste: str | None = None
    ssh_port: int | None = None
    ssh_user: str | None = None
    proxy: str | None = field(default=None, repr=False)  # may hold a password


@dataclass(frozen=True, slots=True)
class Answers:
    """None is a question left open; with `start` False nothing is left running that was not.

    `resumed` says that the endpoint is from a run that was interrupted.
    """

    name: str | None = None
    endpoint: str | None = None
    paste: str | None = None
    to: str | None = None
    ssh_port: int | None = None
    ssh_user: str | None = None
    proxy: str | None = field(default=None, repr=False)
    fingerprint: str | None = None
    yes: bool = False
    service: bool | None = None
    start: bool = True
    resumed: bool = False

    @property
    def describe_a_tunnel(self) -> bool:
        """Whether anything is said about the tunnel itself."""
        said = (self.endpoint, self.paste, self.to, self.ssh_port, self.ssh_user, self.proxy)
        return any(each is not None for each in said)

    def resuming(self, draft: Draft | None) -> Answers:
        """Return these with what an interrupted run was told, unless they name an endpoint themselves."""
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
        """Return what an interrupted run is to keep; `paste` is what was typed if the options said nothing."""
        return Draft(self.endpoint, paste, self.ssh_port, self.ssh_user, self.proxy)


@dataclass(frozen=True, slots=True)
class Open:
    """The questions that what is set up already and the answers leave open."""

    endpoint: bool
    target: bool
    host_key: bool
    service: bool

    def refuse(self) -> None:
        """Raise UsageFault with every option that is missing, if there are any."""
        options = {
            "--endpoint HOST:PORT (or --paste TEXT)": self.endpoint,
            "--to HOST:PORT": self.target,
            "--fingerprint SHA256:… (or --yes)": self.host_key,
            "--service or --no-service": self.service,
        }
        missing = [option for option, is_open in options.items() if is_open]
        if missing:
            raise UsageFault(
                f"nobody can be asked, this is not a terminal; missing: {', '.join(missing)}",
                hint=f"Like: {EXAMPLE}\n`ioconnect keygen` prints the public key to hand over before.",
            )
