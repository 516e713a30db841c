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
import { peerCommand } from './peer.js'
import { serveCommand } from './serve.js'
import { useSettings } from './settings.js'
import { swarmKeyCommand } from './swarm-key.js'
import { synthCommand } from './synth.js'

/** Where somebody begins who has just installed it. */
const FIRST_STEPS = `
First steps:
  $ moeswarm doctor
  $ moeswarm peer --donate 4GiB --model <id> --bootstrap <address>
  $ moeswarm fetch <id> --out model --bootstrap <address>
  $ moeswarm chat --model model --bootstrap <address>
say what this machine can do, donate memory and cores, get what a user needs of a model, and talk with it. A peer
prints its address and the model's id when it starts. Every command has --help with an example.
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
