/** Of a peer's replies that went into a sequence before they were compared with another's: the first position, and how many. */
interface Contribution {
  position: number
  replies: number
}

/** Whose uncompared replies a KV cache is made of: what has to be computed again when one of them turns out to lie. */
export class Contributors {
  private readonly byPeer = new Map<string, Contribution>()

  /** Replies to a lap that begins at `position`. */
  add (position: number, peerIds: Iterable<string>): void {
    for (const peerId of peerIds) {
      const known = this.byPeer.get(peerId)
      if (known === undefined) {
        this.byPeer.set(peerId, { position, replies: 1 })
      } else {
        known.replies++
        known.position = Math.min(known.position, position)
      }
    }
  }

  of (peerId: string): Readonly<Contribution> | undefined { return this.byPeer.get(peerId) }

  /** The first position that any of these peers had a part in; undefined where none had. */
  firstOf (peerIds: Iterable<string>): number | undefined {
    let first: number | undefined
    for (const peerId of peerIds) {
      const position = this.byPeer.get(peerId)?.position
      if (position !== undefined && (first === undefined || position < first)) first = position
    }
    return first
  }

  /** Positions from `length` on are gone. */
  truncate (length: number): void {
    for (const [peerId, { position }] of this.byPeer) if (position >= length) this.byPeer.delete(peerId)
  }
}
