# SPDX-License-Identifier: GPL-2.0-or-later
# Completion for bash; goes to /usr/share/bash-completion/completions/lungate
# Words come from --help and from the running daemon, so this file needs no care.
_lungate()
{
	local cur=${COMP_WORDS[COMP_CWORD]} first=${COMP_WORDS[1]-} second=${COMP_WORDS[2]-} words
	COMPREPLY=()
	if [[ $COMP_CWORD == 1 ]]; then
		words=$(lungate --help 2>/dev/null | awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on && /^  [a-z]/ { print $1 }' | sort -u)
	elif [[ $COMP_CWORD == 2 && $first =~ ^(volume|target|config)$ ]]; then
		words=$(lungate "$first" --help 2>/dev/null | awk -v g="$first" '$1 == g { print $2 }')
	elif [[ $cur == -* ]]; then
		[[ $first =~ ^(volume|target|config)$ ]] || second=
		words=$(lungate "$first" $second --help 2>/dev/null | grep -o -e '^ *\(-., \)\?--[a-z-]*' | grep -o -e '--[a-z-]*')
	else
		case "$first $second" in
		"volume show" | "volume resize" | "volume delete" | map\ *)
			words=$(lungate volume list --json 2>/dev/null | grep -o '^    "name": "[^"]*' | cut -d'"' -f4) ;;
		"target map" | "target unmap" | "target show" | "target delete")
			words=$(lungate target list --json 2>/dev/null | grep -o '^    "name": "[^"]*' | cut -d'"' -f4)
			if [[ $second == map && $COMP_CWORD == 4 ]]; then
				words=$(lungate volume list --json 2>/dev/null | grep -o '^    "name": "[^"]*' | cut -d'"' -f4)
			fi ;;
		config\ *)
			COMPREPLY=($(compgen -f -- "$cur"))
			return ;;
		esac
	fi
	COMPREPLY=($(compgen -W "$words" -- "$cur"))
	# iSCSI names hold colons, which bash takes for word breaks
	if declare -F __ltrim_colon_completions >/dev/null; then
		__ltrim_colon_completions "$cur"
	fi
}
complete -F _lungate lungate
