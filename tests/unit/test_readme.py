"""The README is held to the code: its commands, states, exit codes, configuration and links."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from ioconnect.cli import cli
from ioconnect.config import configuration
from ioconnect.errors import ExitCode
from ioconnect.status.snapshots import State

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_it_is_short() -> None:
    assert len(TEXT.splitlines()) <= 150


def test_its_commands_are_all_there_are() -> None:
    rows = [row.split("|")[1] for row in section("Commands").splitlines() if row.startswith("| `")]

    assert sorted(re.findall(r"`([a-z-]+)`", " ".join(rows))) == sorted(cli.commands)


def test_its_states_are_all_there_are() -> None:
    states = section("Commands").partition("\nStates:")[2].partition("\n\n")[0]

    assert re.findall(r"`([a-z]+)`", states) == [state.value for state in State]


def test_its_exit_codes_are_all_there_are() -> None:
    codes = re.findall(r"^\| (\d+) \|", section("Commands"), re.MULTILINE)

    assert [int(code) for code in codes] == sorted(code.value for code in ExitCode)


def outages(text: str) -> list[list[str]]:
    """Return the cells of the table of what happens, ours and autossh's figures."""
    table = text.partition("| what happens |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()[2:]]


def test_its_outages_have_the_figures_of_their_page() -> None:
    """Which has more rows, with more words: each row's figures here are in the row there that begins alike."""
    page = outages((ROOT / "docs" / "outages.md").read_text(encoding="utf-8"))
    rows = outages(TEXT)
    compared = 0
    for happens, ours, autossh in rows:
        (there,) = [cells for cells in page if cells[0].startswith(happens[:25])]
        for shown, measured in ((ours, there[1]), (autossh, there[-1])):
            figures = re.findall(r"[\d.]+(?: to [\d.]+)? s", shown)
            assert [figure for figure in figures if figure not in measured] == [], happens
            compared += len(figures)
    assert compared > 10


def test_its_configuration_is_one() -> None:
    """It parses, and what it shows as defaults are the defaults."""
    shown = section("Configuration").partition("```toml\n")[2].partition("```")[0]
    parsed = configuration.parse(tomllib.loads(shown.replace('proxy = ""', 'proxy = "none"')), source="README.md")
    (tunnel,) = parsed.tunnels
    plain = configuration.Tunnel("orders", tunnel.endpoint, tunnel.target, proxy="none", identity=tunnel.identity)

    assert tunnel == plain
    assert parsed.agent == configuration.AgentSettings()


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))]
)
def test_its_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))

    assert [link for link in links if not (path.parent / link).exists()] == []


def test_its_commands_of_the_checkout_exist() -> None:
    named = set(re.findall(r"\./run ([a-z]+)", TEXT))
    known = set(re.findall(r"^    ([a-z]+)\) ", (ROOT / "run").read_text(encoding="utf-8"), re.MULTILINE))

    assert {"demo", "test"} <= named <= known
