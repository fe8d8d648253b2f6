# Completion of ioconnect for bash 4.4 or later; made by `ioconnect completion bash`.
_ioconnect() {
    local kind word help
    COMPREPLY=()
    while IFS=$'\t' read -r kind word help; do
        case $kind in
            plain) COMPREPLY+=("$word") ;;
            file) compopt -o default ;;
            dir) compopt -o dirnames ;;
        esac
    done < <(_IOCONNECT_WORDS=$(printf '%s\n' "${COMP_WORDS[@]}") _IOCONNECT_CURSOR=$COMP_CWORD \
        _IOCONNECT_COMPLETE=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F _ioconnect ioconnect
