import { type CompletedCommand, location, locations } from './tree.js'

/** A completion script for fish. */
export function fishScript (commands: CompletedCommand[]): string {
  const lines = commands.flatMap(({ path, commands: subs, options, words }) => {
    const when = `complete -c moeswarm -n "__moeswarm_at '${location(path)}'"`
    return [
      ...subs.map(({ name, description }) => `${when} -f -a ${quoted(name)} -d ${quoted(description)}`),
      ...(words.length > 0 ? [`${when} -f -a ${quoted(words.join(' '))}`] : []),
      ...options.map(({ flag, description, takesValue, choices }) =>
        `${when} -l ${flag.slice(2)}${takesValue ? ` -r${choices.length > 0 ? ` -f -a ${quoted(choices.join(' '))}` : ''}` : ''} -d ${quoted(description)}`)
    ]
  })
  return `# moeswarm completion fish: keep it as ~/.config/fish/completions/moeswarm.fish
function __moeswarm_at
  set -l at ''
  for word in (commandline -opc)[2..-1]
    switch "$at/$word"
      case ${locations(commands).join(' ')}
        set at "$at/$word"
    end
  end
  test "$at" = "$argv[1]"
end
${lines.join('\n')}
`
}

/** fish knows two escapes in single quotes. */
function quoted (text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}
