"""Completion for bash, zsh and fish: the scripts, and the answers to their requests.

A script runs `ioconnect` with `_IOCONNECT_COMPLETE=SHELL_complete`, `_IOCONNECT_WORDS` (one a line) and
`_IOCONNECT_CURSOR` (the index of the word under the cursor). Each candidate is printed as a line
`kind<TAB>word<TAB>help`, kind being plain, file or dir. click's own scripts are not used: an installed script would
depend on the version of click that answers it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem, ShellComplete

if TYPE_CHECKING:
    from ioconnect.console.invocation import Invocation

VARIABLE = "_IOCONNECT_COMPLETE"

_BASH = """\
# Completion of ioconnect for bash 4.4 or later; made by `ioconnect completion bash`.
_ioconnect() {
    local kind word help
    COMPREPLY=()
    while IFS=$'\\t' read -r kind word help; do
        case $kind in
            plain) COMPREPLY+=("$word") ;;
            file) compopt -o default ;;
            dir) compopt -o dirnames ;;
        esac
    done < <(_IOCONNECT_WORDS=$(printf '%s\\n' "${COMP_WORDS[@]}") _IOCONNECT_CURSOR=$COMP_CWORD \\
        _IOCONNECT_COMPLETE=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F _ioconnect ioconnect
"""

_ZSH = """\
#compdef ioconnect
# Completion of ioconnect for zsh; made by `ioconnect completion zsh`.
_ioconnect() {
    local line kind word help
    local -a described
    for line in ${(f)"$(_IOCONNECT_WORDS=${(F)words} _IOCONNECT_CURSOR=$((CURRENT - 1)) \\
        _IOCONNECT_COMPLETE=zsh_complete $words[1] 2>/dev/null)"}; do
        IFS=$'\\t' read -r kind word help <<<"$line"
        case $kind in
            plain) described+=("${word//:/\\\\:}${help:+:$help}") ;;
            file) _files ;;
            dir) _files -/ ;;
        esac
    done
    (( $#described )) && _describe -V ioconnect described
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _ioconnect "$@"
else
    compdef _ioconnect ioconnect
fi
"""

_FISH = """\
# Completion of ioconnect for fish; made by `ioconnect completion fish`.
function __ioconnect_complete
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -lx _IOCONNECT_CURSOR (count $before)
    set -lx _IOCONNECT_WORDS (string join \\n -- $before $current | string collect --allow-empty)
    set -lx _IOCONNECT_COMPLETE fish_complete
    for line in ($before[1] 2>/dev/null)
        set -l fields (string split \\t -- $line)
        switch $fields[1]
            case plain
                printf '%s\\t%s\\n' $fields[2] "$fields[3]"
            case file
                __fish_complete_path $current
            case dir
                __fish_complete_directories $current
        end
    end
end
complete --command ioconnect --no-files --arguments '(__ioconnect_complete)'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


class _Lines(ShellComplete):
    """Reads the request and formats the candidates as the module's docstring says."""

    def get_completion_args(self) -> tuple[list[str], str]:
        words = os.environ.get("_IOCONNECT_WORDS", "").split("\n")
        cursor = os.environ.get("_IOCONNECT_CURSOR", "")
        position = int(cursor) if cursor.isdecimal() else len(words) - 1
        incomplete = words[position] if position < len(words) else ""
        return words[1:position], incomplete

    def format_completion(self, item: CompletionItem) -> str:
        return f"{item.type}\t{item.value}\t{' '.join((item.help or '').split())}"


def respond(command: click.Command, instruction: str, invocation: Invocation) -> int:
    """Print the candidates and return the exit code; `instruction` is the value of `VARIABLE`."""
    shell, _, verb = instruction.partition("_")
    if shell not in SCRIPTS or verb != "complete":
        return 1
    click.echo(_Lines(command, {"obj": invocation}, "ioconnect", VARIABLE).complete())
    return 0
