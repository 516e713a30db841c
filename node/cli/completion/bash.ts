import { type CompletedCommand, location, locations, quoted, valueOptions } from './tree.js'

/** A completion script for bash 4 and later. */
export function bashScript (commands: CompletedCommand[]): string {
  const values = valueOptions(commands).map(({ at, flag, choices }) => `    ${quoted(`${at}:${flag}`)}) ${choices.length > 0 ? `COMPREPLY=($(compgen -W ${quoted(choices.join(' '))} -- "$cur"))` : 'compopt -o default'}; return ;;`)
  const words = commands.map(({ path, commands: subs, options, words }) =>
    `    ${quoted(location(path))}) flags=${quoted(options.map(({ flag }) => flag).join(' '))}; names=${quoted([...subs.map(({ name }) => name), ...words].join(' '))} ;;`)
  return `# moeswarm completion bash: source it, for instance in ~/.bashrc
_moeswarm () {
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD-1]}" at='' flags='' names='' i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$at/\${COMP_WORDS[i]}" in
      ${locations(commands).join('|')}) at="$at/\${COMP_WORDS[i]}" ;;
    esac
  done
  case "$at:$prev" in
${values.join('\n')}
  esac
  case "$at" in
${words.join('\n')}
  esac
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$cur"))
  elif [[ -n $names ]]; then
    COMPREPLY=($(compgen -W "$names" -- "$cur"))
  else
    compopt -o default
  fi
}
complete -F _moeswarm moeswarm
`
}
