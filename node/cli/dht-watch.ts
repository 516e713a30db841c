import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import { SwarmWatch } from '../index.js'
import { action, parse, type Run } from './command.js'
import { inspection, type InspectionOptions, withModel } from './inspected-swarm.js'
import { Screen } from './screen.js'
import { changeText, watchView } from './watch-view.js'

interface WatchOptions extends InspectionOptions {
  interval: number
}

/** Changes that a view remembers. */
const CHANGES_KEPT = 100

export function watchCommand (): Command {
  return inspection('watch', 'Watch a model\'s swarm live: peers coming and going, coverage, routing table, lookups. q ends it.', '--model ./demo.bundle')
    .option('--interval <seconds>', 'between two looks', parse.number(0.2), 2)
    .addHelpText('after', '\nOn a terminal a view that is drawn again at each look; elsewhere a line a change; with --json an object a change and a look.\n')
    // A watch that is ended has done its work.
    .action(action<WatchOptions>(watch, 0))
}

async function watch (options: WatchOptions, run: Run): Promise<void> {
  const { terminal } = run
  await withModel(options, run, async (inspector, model) => {
    const swarm = new SwarmWatch({ inspector, modelId: model.id, expected: model.blocks })
    const screen = Screen.isPossible() && !terminal.json ? new Screen() : undefined
    const ended = screen === undefined ? run.signal : AbortSignal.any([run.signal, screen.quit])
    const past: string[] = []
    try {
      while (!ended.aborted) {
        const { snapshot, changes } = await swarm.look(ended)
        for (const change of changes) {
          const line = `${new Date(snapshot.atMs).toISOString().slice(11, 19)}  ${changeText(change)}`
          past.unshift(line)
          terminal.event('change', { atMs: snapshot.atMs, change })
          if (screen === undefined) terminal.result(`${line}\n`)
        }
        past.length = Math.min(past.length, CHANGES_KEPT)
        terminal.event('look', snapshot)
        screen?.draw(columns => watchView({ snapshot, past, modelId: model.id, columns }))
        await sleep(options.interval * 1000, undefined, { signal: ended })
      }
    } catch (error) {
      if (!ended.aborted) throw error
    } finally {
      screen?.end()
    }
  })
}
