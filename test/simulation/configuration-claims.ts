import { encodeConfiguration, noConfiguration } from '../../src/raft/configuration.ts'
import type { Configuration } from '../../src/raft/configuration.ts'
import type { SnapshotMeta } from '../../src/raft/effects.ts'
import type { Entry, Index } from '../../src/raft/entry.ts'

/**
 * What must be true of configurations: the newest of a log rules, also after others were truncated or a snapshot took their
 * place; a snapshot holds the one of its index; and no two are open at a time. Each is null when it holds, else a sentence.
 */

/** What these claims need to know of one node's log. */
type LogView = {
  readonly firstIndex: Index
  readonly entries: readonly Entry[]
  readonly base: SnapshotMeta | null
  /** Where the log has configurations; may name places that are compacted. */
  readonly configurations: readonly Index[]
}

const decoder = new TextDecoder()

function textOf(configuration: Configuration): string {
  return decoder.decode(encodeConfiguration(configuration))
}

export function newestRules(view: LogView, ruling: Configuration): string | null {
  const index = view.configurations.findLast((at) => at > (view.base?.index ?? 0))
  const entry = index === undefined ? undefined : view.entries[index - view.firstIndex]
  const newest = entry === undefined ? textOf(view.base?.configuration ?? noConfiguration) : decoder.decode(entry.data)
  const now = textOf(ruling)
  return now === newest ? null : `${now} rules, not ${newest} of ${index ?? 'the snapshot'}`
}

export function snapshotHoldsItsOwn(
  snapshot: SnapshotMeta,
  committed: readonly { readonly configuration: Configuration | null }[],
): string | null {
  for (let at = Math.min(snapshot.index, committed.length) - 1; at >= 0; at -= 1) {
    const configuration = committed[at]?.configuration
    if (configuration === null || configuration === undefined) continue
    const [held, due] = [textOf(snapshot.configuration), textOf(configuration)]
    return held === due ? null : `the snapshot of ${snapshot.index} holds ${held}, not ${due} of ${at + 1}`
  }
  return null
}

export function oneIsOpen(view: LogView, commitIndex: Index): string | null {
  if (view.configurations.length < 2) return null
  const open = view.configurations.filter((index) => index > commitIndex)
  return open.length > 1 ? `${open.join(', ')} are open` : null
}
