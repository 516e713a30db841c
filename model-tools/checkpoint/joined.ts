import type { CheckpointSource, CheckpointTensor, TensorReader } from './source.js'

/** Before the names of a drafter's tensors in a checkpoint that has been joined with it. */
export const DRAFTER_PREFIX = 'drafter:'

/** A model and its drafter as one checkpoint: what is made of both reads from one. Whoever opened them closes them. */
export function joinDrafter (source: CheckpointSource, drafter: TensorReader & Pick<CheckpointSource, 'fingerprint'>): CheckpointSource {
  const own = (tensor: CheckpointTensor): [string, CheckpointTensor] => [DRAFTER_PREFIX + tensor.name, { ...tensor, name: DRAFTER_PREFIX + tensor.name }]
  return {
    location: source.location,
    fingerprint: `${source.fingerprint}+${drafter.fingerprint}`,
    pinned: source.pinned,
    normsWhole: source.normsWhole,
    tensors: new Map([...source.tensors, ...[...drafter.tensors.values()].map(own)]),
    read: async (name, offset, length) => {
      const [from, its]: [TensorReader, string] = name.startsWith(DRAFTER_PREFIX) ? [drafter, name.slice(DRAFTER_PREFIX.length)] : [source, name]
      return await from.read(its, offset, length)
    },
    sideFile: async name => await source.sideFile(name),
    close: async () => { /* it has opened nothing */ }
  }
}
