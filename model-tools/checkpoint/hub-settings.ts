import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { HUB_URL } from '@huggingface/hub'
import { ModelError } from '../errors.js'

/** How repositories are reached. */
export interface HubSettings {
  /** Without a slash at its end. */
  endpoint: string
  /** Sent to the endpoint's origin only, and never shown. */
  token?: string
  /** In the layout that all tools of the ecosystem share. */
  cacheDir: string
  /** A connection that brings nothing for so long is taken to be dead. */
  stallMs: number
  /** Waits between attempts. */
  sleep: (ms: number, signal: AbortSignal) => Promise<void>
}

const DEFAULT_TIMEOUT_SECONDS = 30

/**
 * What the variables of the ecosystem say, where an empty one is none: HF_ENDPOINT; HF_TOKEN, else the token that `hf auth login` has left in HF_TOKEN_PATH or HF_HOME;
 * HF_HUB_CACHE, else `hub` in HF_HOME; HF_HUB_DOWNLOAD_TIMEOUT, in seconds. Rejects with ModelError 'malformed' for an HF_ENDPOINT that is no address.
 */
export async function hubSettings (environment: NodeJS.ProcessEnv, sleep: HubSettings['sleep']): Promise<HubSettings> {
  const endpoint = (environment.HF_ENDPOINT || HUB_URL).replace(/\/+$/, '')
  if (!URL.canParse(endpoint) || !/^https?:/.test(endpoint)) {
    throw new ModelError('malformed', `HF_ENDPOINT is "${endpoint}", which is no address; write for example ${HUB_URL}, or unset it.`, { endpoint })
  }
  const stallMs = 1000 * (Number(environment.HF_HUB_DOWNLOAD_TIMEOUT) || DEFAULT_TIMEOUT_SECONDS)
  // The package's own function takes an empty variable for the directory of the process.
  const home = environment.HF_HOME || join(environment.XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface')
  const cacheDir = environment.HF_HUB_CACHE || environment.HUGGINGFACE_HUB_CACHE || join(home, 'hub')
  return { endpoint, stallMs, token: await readToken(environment, home), cacheDir, sleep }
}

async function readToken (environment: NodeJS.ProcessEnv, home: string): Promise<string | undefined> {
  const text = environment.HF_TOKEN?.trim() || await readFile(environment.HF_TOKEN_PATH || join(home, 'token'), 'utf8').catch(() => '')
  const token = text.trim()
  return token === '' ? undefined : token
}
