import { homedir } from 'node:os'
import { join } from 'node:path'

/** What is kept from run to run: moeswarm's directory in the user's XDG state directory. */
export function stateDirectory (env: NodeJS.ProcessEnv = process.env): string {
  return join(env.XDG_STATE_HOME || join(homedir(), '.local', 'state'), 'moeswarm')
}
