/** Whether a hash over peer and matter puts this peer before the others: whoever computes it, for the same peers, finds the same one first. */
export function isFirst (peerId: string, others: Iterable<string>, about: string): boolean {
  const mine = hash(peerId + about)
  for (const other of others) {
    const theirs = hash(other + about)
    if (theirs > mine || (theirs === mine && other > peerId)) return false
  }
  return true
}

/** In [0, 1): where the hash over peer and matter puts this peer. */
export function placeOf (peerId: string, about: string): number {
  return hash(peerId + about) / 2 ** 32
}

/** FNV-1a with a last mixing: the same on all machines, and its order is unrelated for texts that differ a little. */
function hash (text: string): number {
  let value = 0x811c9dc5
  for (let at = 0; at < text.length; at++) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193)
  value = Math.imul(value ^ (value >>> 15), 0x2c1b3c6d)
  return (value ^ (value >>> 13)) >>> 0
}
