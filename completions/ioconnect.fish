# Completion of ioconnect for fish; made by `ioconnect completion fish`.
function __ioconnect_complete
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -lx _IOCONNECT_CURSOR (count $before)
    set -lx _IOCONNECT_WORDS (string join \n -- $before $current | string collect --allow-empty)
    set -lx _IOCONNECT_COMPLETE fish_complete
    for line in ($before[1] 2>/dev/null)
        set -l fields (string split \t -- $line)
        switch $fields[1]
            case plain
                printf '%s\t%s\n' $fields[2] "$fields[3]"
            case file
                __fish_complete_path $current
            case dir
                __fish_complete_directories $current
        end
    end
end
complete --command ioconnect --no-files --arguments '(__ioconnect_complete)'
