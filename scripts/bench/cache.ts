import { homedir } from 'node:os'
import { join } from 'node:path'

/** Where benchmarks keep what is dear to make, shared by all checkouts: ~/.cache/moeswarm, or under XDG_CACHE_HOME. */
export const CACHE_DIR = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'moeswarm')
