import { createRequire } from 'node:module'

const { version } = createRequire(import.meta.url)('moeswarm/package.json') as { version: string }

/** moeswarm's version, as in package.json. */
export const VERSION = version
