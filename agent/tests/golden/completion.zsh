#compdef outrider
# Completion of outrider for zsh, printed by `outrider completion zsh`.
_outrider() {
    local -a commands
    if (( CURRENT == 2 )); then
        commands=(
            'run:Run the agent in the foreground'
            'status:Show vehicles, mesh, hardware and connections'
            'mesh:Show links, routes and networks of the routing daemon'
            'put:Hand records to the agent, to be kept and delivered'
            'check:Find out what does not work, and what to do about it'
            'federation:Commands about the federation'
            'decode:Turn telemetry payloads into JSON lines'
            'fleet:Receive what all vehicles send, for a command post or any vehicle'
            'spool:Commands about the spool'
            'config:Commands about the config'
            'version:Print the version'
            'man:Print the manual page'
            'completion:Print a completion script for a shell'
        )
        _describe command commands
        _arguments \
            '-h[Print help]' \
            '--help[Print help]' \
            '-V[Print the version]' \
            '--version[Print the version]'
        return
    fi
    local command="$words[2]"
    if [[ $command == federation ]]; then
        if (( CURRENT == 3 )); then
            commands=(
                'list:Show in which federation this vehicle is, why, and what comes next'
                'join:Have this vehicle join a federation and stay'
                'leave:Have this vehicle leave its federation and join none'
                'hold:Have everything about federations stay as it is'
                'release:Take back `join`, `leave` or `hold`\: let policy decide again'
            )
            _describe command commands
            return
        fi
        command="$command $words[3]"
        shift words
        (( CURRENT-- ))
    fi
    if [[ $command == spool ]]; then
        if (( CURRENT == 3 )); then
            commands=(
                'ls:Show what a spool holds'
                'check:Read every byte of a spool and name what is wrong'
                'dump:Print every record in a spool as JSON lines'
                'repair:Set damage in a spool aside and keep what is good'
                'export:Write what has not left a spool to files'
            )
            _describe command commands
            return
        fi
        command="$command $words[3]"
        shift words
        (( CURRENT-- ))
    fi
    if [[ $command == config ]]; then
        if (( CURRENT == 3 )); then
            commands=(
                'default:Print a configuration file with all defaults'
                'check:Check a configuration file'
                'doc:Print the reference of all keys in Markdown'
            )
            _describe command commands
            return
        fi
        command="$command $words[3]"
        shift words
        (( CURRENT-- ))
    fi
    shift words
    (( CURRENT-- ))
    case "$command" in
        "run") _arguments \
            '-c[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '--config[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '-h[Print help]' \
            '--help[Print help]' ;;
        "status") _arguments \
            '--json[Print one JSON document instead of text]' \
            '--connect[Ask the agent that serves HTTP there, such as another vehicle'\''s]:HOST:PORT: ' \
            '-c[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '--config[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '-h[Print help]' \
            '--help[Print help]' ;;
        "mesh") _arguments \
            '--json[Print one JSON document instead of text]' \
            '--direct[Read the routing daemon itself instead of asking the agent]' \
            '--connect[Ask the agent that serves HTTP there, such as another vehicle'\''s]:HOST:PORT: ' \
            '-c[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '--config[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '-h[Print help]' \
            '--help[Print help]' ;;
        "put") _arguments \
            '-l[Make each line a record, without its line feed]' \
            '--lines[Make each line a record, without its line feed]' \
            '-t[Say what the records are, such as application/json]:TYPE: ' \
            '--content-type[Say what the records are, such as application/json]:TYPE: ' \
            '--accepted[Do not wait until records are safe from a power cut]' \
            '--json[Print one JSON document instead of text]' \
            '-c[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '--config[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '-h[Print help]' \
            '--help[Print help]' \
            ':STREAM: ' \
            '::FILE:_files' ;;
        "check") _arguments \
            '--json[Print one JSON document instead of text]' \
            '-c[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '--config[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '-h[Print help]' \
            '--help[Print help]' \
            '::CHECK:(configuration user identity clock daemon metric vehicles hardware http control spool credentials certificates broker federation)' \
            '::NAME: ' ;;
        "federation list") _arguments \
            '--json[Print one JSON document instead of text]' \
            '--connect[Ask the agent that serves HTTP there, such as another vehicle'\''s]:HOST:PORT: ' \
            '-c[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '--config[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '-h[Print help]' \
            '--help[Print help]' ;;
        "federation join") _arguments \
            '--json[Print one JSON document instead of text]' \
            '-c[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '--config[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '-h[Print help]' \
            '--help[Print help]' \
            ':NAME: ' ;;
        "federation leave") _arguments \
            '--now[Do not move pods away first, and do not wait for the server]' \
            '--json[Print one JSON document instead of text]' \
            '-c[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '--config[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '-h[Print help]' \
            '--help[Print help]' ;;
        "federation hold") _arguments \
            '--json[Print one JSON document instead of text]' \
            '-c[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '--config[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '-h[Print help]' \
            '--help[Print help]' ;;
        "federation release") _arguments \
            '--json[Print one JSON document instead of text]' \
            '-c[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '--config[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '-h[Print help]' \
            '--help[Print help]' ;;
        "decode") _arguments \
            '-b[Name series by this birth document]:FILE:_files' \
            '--birth[Name series by this birth document]:FILE:_files' \
            '--batches[Print one line for each batch, with one list of values for each series]' \
            '--connect[Read from this MQTT broker; with --config, as section `\[mqtt\]` says how (user, TLS)]:HOST:PORT: ' \
            '--topic[Read these topics of the broker; default everything below `mqtt.topic`]:FILTER: ' \
            '-n[End after this many payloads of the broker]:NUMBER: ' \
            '--count[End after this many payloads of the broker]:NUMBER: ' \
            '-c[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '--config[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '-h[Print help]' \
            '--help[Print help]' \
            '::FILE:_files' ;;
        "fleet") _arguments \
            '--connect[The MQTT broker; default that of section `\[mqtt\]` of the configuration]:HOST:PORT: ' \
            '--prefix[Take what vehicles with this `mqtt.topic` publish; default that of the configuration]:TOPIC: ' \
            '--state[Keep what is known here; default $STATE_DIRECTORY, or outrider-fleet in $XDG_STATE_HOME or ~/.local/state]:FOLDER:_files' \
            '--streams-to[Write records of streams to files below this folder]:FOLDER:_files' \
            '--rotate[Begin another file of lines at this size; default 64MiB. Closed files may be moved or removed at any time]:SIZE: ' \
            '--forward[Publish everything as JSON below TOPIC, as <TOPIC>/<vehicle>/telemetry and so on]:TOPIC: ' \
            '--listen[Serve page and metrics here, or nowhere with `off`; default 127.0.0.1\:9696]:ADDRESS: ' \
            '--client-id[Client identifier, under which the broker keeps what comes while this is away; default outrider-fleet-<host>]:NAME: ' \
            '--keep[Ask the broker to keep what comes while this is away for so long; default 7d. Only MQTT 5 has a way to say it]:DURATION: ' \
            '-c[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '--config[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '-h[Print help]' \
            '--help[Print help]' ;;
        "spool ls") _arguments \
            '--json[Print one JSON document instead of text]' \
            '-c[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '--config[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '-h[Print help]' \
            '--help[Print help]' \
            '::FOLDER:_files' ;;
        "spool check") _arguments \
            '--json[Print one JSON document instead of text]' \
            '-c[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '--config[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '-h[Print help]' \
            '--help[Print help]' \
            '::FOLDER:_files' ;;
        "spool dump") _arguments \
            '-s[Only records of this stream]:NAME: ' \
            '--stream[Only records of this stream]:NAME: ' \
            '--payload[Print contents, too, as hexadecimal digits in `payload_hex`]' \
            '-c[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '--config[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '-h[Print help]' \
            '--help[Print help]' \
            '::FOLDER:_files' ;;
        "spool repair") _arguments \
            '-c[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '--config[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '-h[Print help]' \
            '--help[Print help]' \
            '::FOLDER:_files' ;;
        "spool export") _arguments \
            '--to[Folder for the files, made when it is missing]:TARGET:_files' \
            '-s[Only records of this stream]:NAME: ' \
            '--stream[Only records of this stream]:NAME: ' \
            '-c[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '--config[Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml]:FILE:_files' \
            '-h[Print help]' \
            '--help[Print help]' \
            '::FOLDER:_files' ;;
        "config default") _arguments \
            '-h[Print help]' \
            '--help[Print help]' ;;
        "config check") _arguments \
            '--json[Print one JSON document instead of text]' \
            '-h[Print help]' \
            '--help[Print help]' \
            '::FILE:_files' ;;
        "config doc") _arguments \
            '-h[Print help]' \
            '--help[Print help]' ;;
        "version") _arguments \
            '--json[Print one JSON document instead of text]' \
            '-h[Print help]' \
            '--help[Print help]' ;;
        "man") _arguments \
            '-h[Print help]' \
            '--help[Print help]' ;;
        "completion") _arguments \
            '-h[Print help]' \
            '--help[Print help]' \
            ':SHELL:(bash zsh fish)' ;;
    esac
}
if [[ $funcstack[1] == _outrider ]]; then _outrider "$@"; else compdef _outrider outrider; fi
