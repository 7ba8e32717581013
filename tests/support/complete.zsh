# What command lines of emoclim become when tab is pressed at their end: complete.zsh FUNCTIONS LINE...
# FUNCTIONS is the folder of _emoclim. A line comes back behind a mark, when the shell is asked to run it.
zmodload zsh/zpty
zpty shell zsh -f -i
read_until() { # MARK: $REPLY is what the shell printed, up to the mark
    zpty -r -m shell REPLY "*$1*" || { print "the shell has ended"; exit 1; }
}
zpty -w shell "stty -echo; PS1= RPS1=; unsetopt prompt_cr zle_bracketed_paste 2>/dev/null; fpath=($1 \$fpath)"
zpty -w shell 'autoload -Uz compinit; compinit -D -u'
# The line as it stands after completion goes out through a widget of our own, bound to a key that nobody types.
zpty -w shell 'tell() { print -rn -- "<<$BUFFER>>"; BUFFER=; }; zle -N tell; bindkey "^X^T" tell; print RE""ADY'
read_until READY
shift
for line; do
    zpty -w -n shell "emoclim $line"$'\t\C-x\C-t'
    read_until '>>'
    REPLY=${${REPLY##*<<}%%>>*}
    print -r -- "${REPLY#emoclim }"
done
zpty -d shell
