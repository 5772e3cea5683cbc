import type { NodeId } from '../vocabulary/ids.ts'
import type { PeerHello } from '../vocabulary/handshake.ts'
import type { MemberView } from '../gossip/effects.ts'
import type { Configuration } from '../raft/configuration.ts'
import type { Member } from '../state/command.ts'

/**
 * Where the other nodes listen, and who of them is dialled. Three tell of it: a node itself, when a link to it opens, the
 * directory, and gossip, which goes on where no majority is. The word of a node's newest start counts, whoever passes it
 * on, so who comes back under other addresses is found again. The peer listeners of all in the directory are dialled; of
 * the raft listeners a voter dials all, and everyone else the voters'.
 */
export class PeerAddresses {
  readonly #options: PeerAddressesOptions
  /** What consensus was told last. */
  readonly #learned = new Map<NodeId, Place & { readonly raft: string }>()

  constructor(options: PeerAddressesOptions) {
    this.#options = options
  }

  /** After a change of anything that tells of addresses, or of the voters. */
  follow(): void {
    const { node, directory, dial } = this.#options
    const listed = directory()
    const places = this.#places(listed)
    dial(listed.flatMap((member) => (member.node === node ? [] : (places.get(member.node)?.peer ?? []))))
    for (const other of this.#learned.keys()) if (!places.has(other)) this.#learned.delete(other)
    for (const [other, place] of places) if (this.#speaksWith(other)) this.#learn(other, place)
  }

  #places(listed: readonly Member[]): ReadonlyMap<NodeId, Place> {
    const { node, linked, gossiped } = this.#options
    const places = new Map<NodeId, Place>()
    const hear = (other: NodeId, told: Place): void => {
      const known = places.get(other)
      if (other === node || (known !== undefined && known.generation > told.generation)) return
      // A start of a node never moves: two words of it only complete each other.
      const isSame = known !== undefined && known.generation === told.generation
      const [peer, raft] = [told.peer ?? (isSame ? known.peer : null), told.raft ?? (isSame ? known.raft : null)]
      places.set(other, { generation: told.generation, peer, raft })
    }
    for (const { node: other, generation, addresses } of [...listed, ...linked()]) {
      hear(other, { generation, peer: addresses.peer || null, raft: addresses.raft || null })
    }
    for (const { node: other, generation, address } of gossiped()) {
      hear(other, { generation, peer: address || null, raft: null })
    }
    return places
  }

  /** Before there are voters, with everyone: they have to be found. */
  #speaksWith(other: NodeId): boolean {
    const { voters = [], votersOutgoing = [] } = this.#options.configuration() ?? {}
    if (voters.length === 0) return true
    return [...voters, ...votersOutgoing].some((voter) => voter === this.#options.node || voter === other)
  }

  #learn(other: NodeId, { generation, peer, raft }: Place): void {
    if (raft === null) return
    const known = this.#learned.get(other)
    if (known !== undefined && (known.generation > generation || known.raft === raft)) return
    this.#learned.set(other, { generation, peer, raft })
    this.#options.learn(other, raft)
  }
}

export type PeerAddressesOptions = {
  readonly node: NodeId
  readonly directory: () => readonly Member[]
  /** What the nodes said of themselves to which there is a link now. */
  readonly linked: () => Iterable<Pick<PeerHello, 'node' | 'generation' | 'addresses'>>
  readonly gossiped: () => readonly Pick<MemberView, 'node' | 'generation' | 'address'>[]
  /** Null before the cluster has formed. */
  readonly configuration: () => Configuration | null
  /** The peer listeners to dial, instead of the earlier ones. */
  readonly dial: (addresses: readonly string[]) => void
  /** Where the raft listener of a node is. */
  readonly learn: (node: NodeId, raftAddress: string) => void
}

/** Null: whoever told did not know. */
type Place = { readonly generation: number; readonly peer: string | null; readonly raft: string | null }
