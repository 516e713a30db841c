#!/usr/bin/env node
import { runProgram } from './command.js'
import { createProgram } from './program.js'

await runProgram(createProgram())
