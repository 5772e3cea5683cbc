import type { StoredNode } from '../storage/log-store.ts'
import type { SnapshotStore } from '../storage/snapshot-store.ts'
import type { ConsensusEvents } from './consensus.ts'
import type { ConsensusPorts } from './ports.ts'
import { decideRecovery } from './recovery.ts'
import type { Recovered, Recovery } from './recovery.ts'

/**
 * Brings the two stores of a node together. What is damaged is said, set aside, and replaced by what is surely true before
 * anything can come to depend on it; after a crash on the way the next start decides alike.
 */
export async function recoverStores(
  stored: StoredNode,
  { store, snapshots }: Pick<ConsensusPorts, 'store' | 'snapshots'>,
  log: ConsensusEvents['log'],
): Promise<{ stored: StoredNode; recovered: Recovered }> {
  const { recovery, damaged } = await lookAtStores(stored, snapshots)
  for (const why of damaged) log('error', 'snapshot-set-aside', { why })
  if (recovery.kind === 'start') {
    const { recovered, lost } = recovery
    if (lost !== null) log('error', 'snapshot-lost', { why: lost, startsFrom: 'the log, which goes back to entry 1' })
    return { stored, recovered }
  }
  // A snapshot is taken for whole by its name, whoever made it: one that is condemned must not be found again.
  if (stored.damage?.condemned === true) await snapshots.setAside()
  const { snapshot, entries, hardState } = recovery.begin
  return { stored: await store.quarantine(recovery.begin), recovered: { snapshot, entries, hardState } }
}

/** What is to come of an opened log; the snapshots are opened here. */
export async function lookAtStores(
  stored: StoredNode,
  snapshots: SnapshotStore,
): Promise<{
  readonly recovery: Recovery
  /** A sentence for each snapshot that was set aside. */
  readonly damaged: readonly string[]
}> {
  const { newest, damaged } = await snapshots.open()
  const { snapshot: named } = stored
  const isNewest = named !== null && newest?.index === named.index && newest.term === named.term
  const hasNamed = isNewest || (named !== null && (await snapshots.verify(named)) === null)
  return { recovery: decideRecovery(stored, { newest, damaged, hasNamed }), damaged }
}
