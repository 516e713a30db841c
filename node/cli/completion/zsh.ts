import { type CompletedCommand, location, locations, quoted, valueOptions } from './tree.js'

/** A completion script for zsh, to be sourced after compinit or kept as _moeswarm in $fpath. */
export function zshScript (commands: CompletedCommand[]): string {
  const values = valueOptions(commands).map(({ at, flag, choices }) => `    ${quoted(`${at}:${flag}`)}) ${choices.length > 0 ? `compadd -- ${choices.map(quoted).join(' ')}` : '_files'}; return ;;`)
  const entry = (name: string, description: string): string => quoted(`${name.replaceAll(':', '\\:')}:${description}`)
  const words = commands.map(({ path, commands: subs, options, words }) => `    ${quoted(location(path))})
      flags=(${options.map(({ flag, description }) => entry(flag, description)).join(' ')})
      names=(${[...subs.map(({ name, description }) => entry(name, description)), ...words.map(quoted)].join(' ')}) ;;`)
  return `#compdef moeswarm
# moeswarm completion zsh: source it after compinit, for instance in ~/.zshrc
_moeswarm () {
  local at='' word previous=\${words[CURRENT-1]}
  local -a flags names
  for word in \${words[2,CURRENT-1]}; do
    case "$at/$word" in
      ${locations(commands).join('|')}) at="$at/$word" ;;
    esac
  done
  case "$at:$previous" in
${values.join('\n')}
  esac
  case "$at" in
${words.join('\n')}
  esac
  if [[ \${words[CURRENT]} == -* ]]; then
    _describe option flags
  elif (( $#names )); then
    _describe command names
  else
    _files
  fi
}
compdef _moeswarm moeswarm
`
}
