import { join } from 'node:path'
import type { Bundle } from '../model-tools/index.js'
import { type ConnectSwarmInit, LiarRecord, type Proof } from '../swarm/index.js'
import { LocalCopy } from './client/local-copy.js'
import type { Closers } from './closers.js'
import { availableMemory } from './host/memory.js'
import type { SwarmClientInit } from './swarm-client.js'
import { tolerancesOf } from './tolerances.js'

/** Share of the requests that are compared where nothing else is said. */
export const AUDIT_SHARE = 0.02

/** Memory of the copy that decides and helps out, where nothing else is said: at most this, and no more than a part of what is available. */
const COPY_BYTES = 1024 ** 3
const COPY_SHARE = 0.25

/** Where liars are remembered, in a state directory. */
export function liarRecord (stateDir: string): LiarRecord {
  return new LiarRecord(join(stateDir, 'liars.json'))
}

/** How a client knows right replies from wrong ones, and what it has where there is nobody to ask. @throws SwarmError 'disk-failed' for a record that cannot be read */
export async function openAudit (bundle: Bundle, init: SwarmClientInit, closers: Closers): Promise<{ copy: LocalCopy, connection: Pick<ConnectSwarmInit, 'audit' | 'localCopy' | 'excluded' | 'onLiar'> }> {
  const record = init.stateDir === undefined ? undefined : liarRecord(init.stateDir)
  const copyBytes = init.copyMemory ?? Math.min(COPY_BYTES, availableMemory() * COPY_SHARE)
  const copy = new LocalCopy(bundle, copyBytes)
  closers.add(async () => { await copy.stop() })
  const writing = new Set<Promise<unknown>>()
  closers.add(async () => { await Promise.all(writing) })
  return {
    copy,
    connection: {
      audit: { share: init.audit ?? AUDIT_SHARE, seed: init.auditSeed, tolerances: tolerancesOf(bundle.manifest.quant) },
      localCopy: copyBytes > 0 ? async (part, signal) => await copy.compute(part, signal) : undefined,
      excluded: (await record?.read())?.map(({ peerId }) => peerId),
      onLiar: (proof: Proof) => {
        // What cannot be kept is still left out until this client ends.
        if (record === undefined) return
        const written = record.add(proof).catch(() => { init.onEvent?.({ type: 'liar-not-kept', peerId: proof.peerId, path: record.file }) }).finally(() => { writing.delete(written) })
        writing.add(written)
      }
    }
  }
}
