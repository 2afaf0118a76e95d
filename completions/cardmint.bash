# Completion for bash. What can stand where, cardmint itself tells.
_cardmint() {
    local words=() replies=() word reply prefix i glued=
    # bash breaks words at =, : and @, as in 0=/dev/sda; for cardmint they are one.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((i == COMP_CWORD)) && [[ $word != [=:@]* ]]; then
            word=$2
            # An @ counts as part of what follows, too.
            [[ $glued != @ ]] || word=${word#@}
        fi
        if ((i > 1)) && [[ -n $glued || $word == [=:@]* ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
        glued=
        [[ $word != [=:@]* ]] || glued=$word
    done
    # Of what is joined, readline replaces the last piece.
    prefix=${words[-1]}
    prefix=${prefix%"$2"}
    # A name may have been completed before, and a blank in it escaped.
    prefix=${prefix//\\/}
    words[-1]=${words[-1]//\\/}
    mapfile -t replies < <(
        CARDMINT_COMPLETE=bash _CLAP_IFS=$'\n' _CLAP_COMPLETE_INDEX=$((${#words[@]} - 1)) \
            cardmint -- "${words[@]}" 2>/dev/null
    )
    COMPREPLY=()
    for reply in "${replies[@]}"; do
        # Options only where one is begun.
        [[ $reply != -* || ${words[-1]} == -* ]] || continue
        reply=${reply#"$prefix"}
        [[ $reply != *[!A-Za-z0-9/._=:,@+~-]* ]] || printf -v reply %q "$reply"
        COMPREPLY+=("$reply")
    done
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[/=] ]]; then
        compopt -o nospace
    fi
} 2>/dev/null
complete -o nosort -o bashdefault -F _cardmint cardmint
