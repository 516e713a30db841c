#!/usr/bin/env node
import { Command } from 'commander'
import { VERSION } from '../version.js'
import { runProgram } from './command.js'
import { convertCommand } from './convert.js'
import { dhtCommand } from './dht.js'
import { fetchCommand } from './fetch.js'
import { generateCommand } from './generate.js'
import { peerCommand } from './peer.js'
import { synthCommand } from './synth.js'

const program = new Command('moeswarm')
  .description('Runs mixture-of-experts models whose experts are hosted by a swarm of volunteers.')
  .version(VERSION)
  .addCommand(convertCommand())
  .addCommand(fetchCommand())
  .addCommand(peerCommand())
  .addCommand(generateCommand())
  .addCommand(dhtCommand())
  .addCommand(synthCommand())

await runProgram(program)
