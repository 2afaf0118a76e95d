# Completion for fish. What can stand where, cardmint itself tells.
function __cardmint_complete
    set --local before (commandline --current-process --tokenize --cut-at-cursor)
    set --local word (commandline --current-token --cut-at-cursor)
    set --local replies (CARDMINT_COMPLETE=fish command cardmint -- $before "$word" 2>/dev/null)
    # Options only where one is begun.
    if not string match --quiet -- '-*' "$word"
        set replies (string match --invert -- '-*' $replies)
    end
    string join \n -- $replies
end
complete --command cardmint --keep-order --no-files --arguments '(__cardmint_complete)'
