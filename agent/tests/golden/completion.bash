# Completion of outrider for bash, printed by `outrider completion bash`.
_outrider() {
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"
    local command="" words="" files=""
    if (( COMP_CWORD > 1 )); then command="${COMP_WORDS[1]}"; fi
    if [[ $command == federation ]] && (( COMP_CWORD > 2 )); then
        command="federation ${COMP_WORDS[2]}"
    fi
    if [[ $command == spool ]] && (( COMP_CWORD > 2 )); then
        command="spool ${COMP_WORDS[2]}"
    fi
    if [[ $command == config ]] && (( COMP_CWORD > 2 )); then
        command="config ${COMP_WORDS[2]}"
    fi
    case "$command:$prev" in
        "run:-c"|"run:--config") files=1 ;;
        "status:--connect") return ;;
        "status:-c"|"status:--config") files=1 ;;
        "mesh:--connect") return ;;
        "mesh:-c"|"mesh:--config") files=1 ;;
        "put:-t"|"put:--content-type") return ;;
        "put:-c"|"put:--config") files=1 ;;
        "check:-c"|"check:--config") files=1 ;;
        "federation list:--connect") return ;;
        "federation list:-c"|"federation list:--config") files=1 ;;
        "federation join:-c"|"federation join:--config") files=1 ;;
        "federation leave:-c"|"federation leave:--config") files=1 ;;
        "federation hold:-c"|"federation hold:--config") files=1 ;;
        "federation release:-c"|"federation release:--config") files=1 ;;
        "decode:-b"|"decode:--birth") files=1 ;;
        "decode:--connect") return ;;
        "decode:--topic") return ;;
        "decode:-n"|"decode:--count") return ;;
        "decode:-c"|"decode:--config") files=1 ;;
        "fleet:--connect") return ;;
        "fleet:--prefix") return ;;
        "fleet:--state") files=1 ;;
        "fleet:--streams-to") files=1 ;;
        "fleet:--rotate") return ;;
        "fleet:--forward") return ;;
        "fleet:--listen") return ;;
        "fleet:--client-id") return ;;
        "fleet:--keep") return ;;
        "fleet:-c"|"fleet:--config") files=1 ;;
        "spool ls:-c"|"spool ls:--config") files=1 ;;
        "spool check:-c"|"spool check:--config") files=1 ;;
        "spool dump:-s"|"spool dump:--stream") return ;;
        "spool dump:-c"|"spool dump:--config") files=1 ;;
        "spool repair:-c"|"spool repair:--config") files=1 ;;
        "spool export:--to") files=1 ;;
        "spool export:-s"|"spool export:--stream") return ;;
        "spool export:-c"|"spool export:--config") files=1 ;;
        *) case "$command" in
            "") words="run status mesh put check federation decode fleet spool config version man completion -h --help -V --version" ;;
            "federation") words="list join leave hold release" ;;
            "spool") words="ls check dump repair export" ;;
            "config") words="default check doc" ;;
            "run") words="-c --config -h --help" ;;
            "status") words="--json --connect -c --config -h --help" ;;
            "mesh") words="--json --direct --connect -c --config -h --help" ;;
            "put") words="-l --lines -t --content-type --accepted --json -c --config -h --help" files=1 ;;
            "check") words="--json -c --config -h --help configuration user identity clock daemon metric vehicles hardware http control spool credentials certificates broker federation" ;;
            "federation list") words="--json --connect -c --config -h --help" ;;
            "federation join") words="--json -c --config -h --help" ;;
            "federation leave") words="--now --json -c --config -h --help" ;;
            "federation hold") words="--json -c --config -h --help" ;;
            "federation release") words="--json -c --config -h --help" ;;
            "decode") words="-b --birth --batches --connect --topic -n --count -c --config -h --help" files=1 ;;
            "fleet") words="--connect --prefix --state --streams-to --rotate --forward --listen --client-id --keep -c --config -h --help" ;;
            "spool ls") words="--json -c --config -h --help" files=1 ;;
            "spool check") words="--json -c --config -h --help" files=1 ;;
            "spool dump") words="-s --stream --payload -c --config -h --help" files=1 ;;
            "spool repair") words="-c --config -h --help" files=1 ;;
            "spool export") words="--to -s --stream -c --config -h --help" files=1 ;;
            "config default") words="-h --help" ;;
            "config check") words="--json -h --help" files=1 ;;
            "config doc") words="-h --help" ;;
            "version") words="--json -h --help" ;;
            "man") words="-h --help" ;;
            "completion") words="-h --help bash zsh fish" ;;
        esac ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    if [[ -n $files && $cur != -* ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur")
    fi
}
complete -F _outrider outrider
