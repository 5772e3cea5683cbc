import type { KeyChange, MemberView } from '../gossip/effects.ts'
import type { Log } from '../log/log.ts'
import { compareIds } from '../vocabulary/ids.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import type { Naming } from '../vocabulary/naming.ts'

/**
 * Whether all nodes name tools and prompts alike: each says its own `mcp.naming` by gossip, and where another node's differs,
 * clients see other names there. Said once in the log, and to whoever asks for this node's status as long as it is so.
 */
export class NamingDifferences {
  readonly #options: NamingDifferencesOptions
  /** What was last said of them. */
  #reported = ''

  constructor(options: NamingDifferencesOptions) {
    this.#options = options
  }

  start(): void {
    const { gossip, ours } = this.#options
    gossip.setState(namingKey, ours)
    gossip.onChange(({ key }) => {
      if (key === namingKey) this.#report()
    })
    this.#report()
  }

  /** As sentences for operators. */
  warnings(): readonly string[] {
    const others = this.#others()
    if (others.length === 0) return []
    const theirs = others.slice(0, shownMax).map(({ node, naming }) => `${naming} on node ${node}`)
    const more = others.length > shownMax ? ` and ${others.length - shownMax} nodes more` : ''
    const mend = 'set the same on every node, or clients see other names of tools and prompts there'
    return [`mcp.naming is ${this.#options.ours} on this node, but ${theirs.join(', ')}${more}; ${mend}`]
  }

  #report(): void {
    const nodes = this.#others()
    const reported = JSON.stringify(nodes)
    if (reported === this.#reported) return
    this.#reported = reported
    const { log, ours } = this.#options
    if (nodes.length > 0) log.warn('mcp-naming-differs', { ours, nodes: nodes.slice(0, shownMax) })
  }

  #others(): readonly { readonly node: NodeId; readonly naming: string }[] {
    const { gossip, ours } = this.#options
    return gossip
      .members()
      .filter(({ status }) => status === 'alive' || status === 'suspect')
      .map(({ node }) => ({ node, naming: gossip.said(node).state.get(namingKey) ?? ours }))
      .filter(({ naming }) => naming !== ours)
      .sort((a, b) => compareIds(a.node, b.node))
  }
}

export type NamingDifferencesOptions = {
  readonly ours: Naming
  readonly gossip: {
    setState(key: string, value: string): void
    onChange(listener: (change: KeyChange) => void): void
    members(): readonly Pick<MemberView, 'node' | 'status'>[]
    said(node: NodeId): { readonly state: ReadonlyMap<string, string> }
  }
  readonly log: Log
}

/** Of gossip's state. */
const namingKey = 'mcp.naming'
/** Of the nodes that differ. */
const shownMax = 8
