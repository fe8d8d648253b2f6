"""Completion in the real shells: commands, options, tunnel names; completions/ holds what `completion` prints."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.customer import Customer
from tests.rigs.terminals import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = {"bash": "ioconnect.bash", "zsh": "_ioconnect", "fish": "ioconnect.fish"}
FOLDER = Path(__file__).resolve().parents[3] / "completions"
CONFIG = """schema = 1
[tunnels.orders]
endpoint = "jump:58115"
target = "db:3306"
[tunnels.stock]
endpoint = "jump:58116"
target = "db:5432"
"""
# Asks bash as readline does: the words of the line so far go through the function that `complete` names.
BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_ioconnect ioconnect
printf '%s\\n' "${COMPREPLY[@]}"
"""
FISH = "source $argv[1]; complete --do-complete (string join ' ' -- $argv[2..])"


@pytest.fixture
def customer(tmp_path: Path) -> Customer:
    """A machine with two tunnels whose PATH begins with the tested command, and which has no start-up files."""
    machine = Customer(tmp_path / "home")
    (machine.home / "config.toml").write_text(CONFIG)
    command = tmp_path / "bin" / "ioconnect"
    command.parent.mkdir()
    words = " ".join(f"'{word}'" for word in machine.command)
    command.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    command.chmod(0o755)
    machine.environment["PATH"] = f"{command.parent}:{os.environ['PATH']}"
    machine.environment["HOME"] = str(tmp_path)
    return machine


@pytest.mark.parametrize("shell", FILES)
def test_the_files_are_what_is_printed(customer: Customer, shell: str) -> None:
    assert customer.run("completion", shell) == (FOLDER / FILES[shell]).read_text()


def in_bash(customer: Customer, *words: str) -> list[str]:
    bash = processes.need_program("bash", package="bash")
    script = str(FOLDER / FILES["bash"])
    argv = [bash, "--norc", "--noprofile", "-c", BASH, "bash", script, "ioconnect", *words]
    return processes.checked(argv, env=customer.environment).split()


def in_fish(customer: Customer, *words: str) -> list[str]:
    fish = processes.need_program("fish", package="fish")
    argv = [fish, "--no-config", "-c", FISH, str(FOLDER / FILES["fish"]), "ioconnect", *words]
    shown = processes.checked(argv, env=customer.environment)
    return [line.split("\t")[0] for line in shown.splitlines()]


@pytest.mark.parametrize("ask", [in_bash, in_fish])
def test_bash_and_fish(customer: Customer, ask: Callable[..., list[str]]) -> None:
    assert ask(customer, "stat") == ["status"]
    assert ask(customer, "up", "") == ["orders", "stock"]
    assert ask(customer, "up", "orders", "st") == ["stock"]
    assert ask(customer, "pin", "--fin") == ["--fingerprint"]
    assert sorted(ask(customer, "completion", "")) == ["bash", "fish", "zsh"]


def test_bash_completes_tunnels_of_the_configuration_that_is_named(customer: Customer, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text(CONFIG.replace("orders", "elsewhere"))

    assert in_bash(customer, "--config", str(tmp_path / "other.toml"), "pin", "") == ["elsewhere", "stock"]


def test_a_broken_configuration_completes_to_nothing(customer: Customer) -> None:
    (customer.home / "config.toml").write_text("[[[")

    assert in_bash(customer, "up", "") == []
    assert in_bash(customer, "up", "--dae") == ["--daemon"]


def test_zsh(customer: Customer) -> None:
    """Through its line editor, since zsh completes nowhere else; from a folder of autoloaded functions."""
    zsh = processes.need_program("zsh", package="zsh")
    with Terminal([zsh, "-f", "-i"], env={**customer.environment, "PS1": "ready> "}) as person:
        person.expect("ready> ")
        person.type(f"fpath=('{FOLDER}' $fpath); autoload -Uz compinit; compinit -u -D; print compinit=$?")
        person.expect("compinit=0")
        person.expect("ready> ")
        person.press("ioconnect stat\t")
        person.expect("ioconnect status ")
        person.press("\x15ioconnect up sto\t")
        person.expect("stock")
        person.press("\x15ioconnect pin \t")
        person.expect("orders")
        person.expect("jump:58115 to db:3306")
        person.press("\x15")
        person.type("exit")


def test_zsh_sources_what_is_printed(customer: Customer) -> None:
    zsh = processes.need_program("zsh", package="zsh")
    code = 'autoload -Uz compinit; compinit -u -D; eval "$(ioconnect completion zsh)"; print $_comps[ioconnect]'

    assert processes.checked([zsh, "-f", "-c", code], env=customer.environment) == "_ioconnect\n"
