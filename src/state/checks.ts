import type { NodeId } from '../vocabulary/ids.ts'
import type { CommandResult, Revision } from './command.ts'

/**
 * What nodes said of their own state at the newest few check indexes, so that a node whose state is another learns of it.
 * Part of the state, like everything else in it; what the reports mean is for others to judge, who know who votes.
 */
export class Checks {
  /** By index, ascending. */
  #byIndex: ReadonlyMap<Revision, ReadonlyMap<NodeId, string>> = new Map()

  /** A report of an index that has passed out of sight finds nothing to be added to. */
  report(report: DigestReport): Exclude<CommandResult, { kind: 'done' }> | null {
    const { node, index, digest } = report
    const indexes = [...this.#byIndex.keys()]
    const [oldest] = indexes
    if (!isCheckIndex(index)) return { kind: 'refused', reason: `${index} is no index at which states are compared` }
    if (oldest !== undefined && index < oldest && indexes.length >= checksMax) return { kind: 'not-found' }
    const reports = new Map(this.#byIndex.get(index))
    reports.set(node, digest)
    const sorted = [...this.#byIndex].filter(([other]) => other !== index)
    sorted.push([index, reports])
    sorted.sort(([a], [b]) => a - b)
    this.#byIndex = new Map(sorted.slice(-checksMax))
    return null
  }

  /** What a node said that is no member any more. */
  forget(node: NodeId): void {
    const kept = this.all().map(({ index, reports }) => ({
      index,
      reports: reports.filter((one) => one.node !== node),
    }))
    this.restore(kept.filter(({ reports }) => reports.length > 0))
  }

  at(index: Revision): ReadonlyMap<NodeId, string> {
    return this.#byIndex.get(index) ?? new Map()
  }

  get indexes(): readonly Revision[] {
    return [...this.#byIndex.keys()]
  }

  /** Oldest index first, each in the order of the reports. */
  all(): CheckRecord[] {
    return [...this.#byIndex].map(([index, reports]) => ({
      index,
      reports: [...reports].map(([node, digest]) => ({ node, digest })),
    }))
  }

  restore(records: readonly CheckRecord[]): void {
    this.#byIndex = new Map(
      records.map(({ index, reports }) => [index, new Map(reports.map(({ node, digest }) => [node, digest]))]),
    )
  }
}

export type CheckRecord = {
  readonly index: Revision
  readonly reports: readonly { readonly node: NodeId; readonly digest: string }[]
}

export type DigestReport = { readonly node: NodeId; readonly index: Revision; readonly digest: string }

/** At each index that is a multiple of this, every node takes the digest of its state. */
export const checkInterval = 4096
/** Indexes of which reports are kept: a report may stand behind what other proposers have under way. */
export const checksMax = 8

export function isCheckIndex(index: Revision): boolean {
  return index > 0 && index % checkInterval === 0
}

/** 16 hexadecimal digits. */
export function isDigest(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{16}$/.test(value)
}
