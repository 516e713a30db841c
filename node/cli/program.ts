import { Command } from 'commander'
import { VERSION } from '../index.js'
import { chatCommand } from './chat.js'
import { completionCommand } from './completion.js'
import { configCommand } from './config.js'
import { convertCommand } from './convert.js'
import { dhtCommand } from './dht.js'
import { doctorCommand } from './doctor.js'
import { explainCommand } from './explain.js'
import { fetchCommand } from './fetch.js'
import { generateCommand } from './generate.js'
import { liarsCommand } from './liars.js'
import { modelsCommand } from './models.js'
import { peerCommand } from './peer.js'
import { serveCommand } from './serve.js'
import { useSettings } from './settings.js'
import { swarmKeyCommand } from './swarm-key.js'
import { synthCommand } from './synth.js'

/** Where somebody begins who has just installed it. */
const FIRST_STEPS = `
First steps:
  $ moeswarm doctor
  $ moeswarm models --bootstrap <address>
  $ moeswarm chat --model gemma4 --bootstrap <address>
  $ moeswarm peer --donate 4GiB --model gemma4 --bootstrap <address>
say what this machine can do and which models a swarm has, talk with one (its client part is fetched first), and donate
memory and cores to it. A peer prints its address when it starts. Every command has --help with an example.
`

/** `moeswarm` with all its commands. */
export function createProgram (): Command {
  const program = new Command('moeswarm')
    .description('Runs mixture-of-experts models whose experts are hosted by a swarm of volunteers.')
    .version(VERSION)
    .option('--config <file>', 'configuration file that counts alone (see moeswarm config --help)')
    .addHelpText('after', FIRST_STEPS)
    .addCommand(convertCommand())
    .addCommand(fetchCommand())
    .addCommand(modelsCommand())
    .addCommand(peerCommand())
    .addCommand(generateCommand())
    .addCommand(chatCommand())
    .addCommand(serveCommand())
    .addCommand(explainCommand())
    .addCommand(dhtCommand())
    .addCommand(liarsCommand())
    .addCommand(doctorCommand())
    .addCommand(swarmKeyCommand())
    .addCommand(synthCommand())
    .addCommand(configCommand())
    .addCommand(completionCommand())
  useSettings(program)
  return program
}
