import { Counter, Gauge } from 'prom-client'
import type { Registry } from 'prom-client'
import type { MetricsSample } from './metrics-sample.ts'
import { setTotal } from './set-total.ts'

/** What `/metrics` tells of a node's disk: damage and its repair, stalls, room, and the snapshots that go to it and from it. */
export class DiskMetrics {
  readonly #registry: Registry
  readonly #quarantined: Gauge
  readonly #scrubbed: Counter
  readonly #scrubRounds: Counter
  readonly #damage: Counter
  readonly #mended: Counter
  readonly #oldestWrite: Gauge
  readonly #syncP99: Gauge
  readonly #stalls: Counter
  readonly #handovers: Counter
  readonly #free: Gauge
  readonly #full: Gauge
  readonly #snapshots: Counter<'direction'>
  readonly #snapshotBytes: Counter<'direction'>

  constructor(registry: Registry) {
    this.#registry = registry
    this.#quarantined = this.#gauge(
      'quorate_quarantined',
      '1 while this node does not count, since its log was damaged.',
    )
    this.#scrubbed = this.#counter('quorate_scrubbed_bytes_total', 'Bytes read once more and verified.')
    this.#scrubRounds = this.#counter('quorate_scrub_rounds_total', 'Rounds over all of log and snapshot.')
    this.#damage = this.#counter('quorate_damage_found_total', 'Records or files that were found damaged by a scrub.')
    this.#mended = this.#counter('quorate_damage_mended_total', 'Of these, those that were mended while the node ran.')
    this.#oldestWrite = this.#gauge(
      'quorate_raft_oldest_write_seconds',
      'For how long the oldest write that has not ended waits; 0: none does.',
    )
    this.#syncP99 = this.#gauge(
      'quorate_raft_persist_sync_p99_seconds',
      'Of the synced writes of the last 5 s, 99 of 100 took no longer; 0: there were none.',
    )
    this.#stalls = this.#counter('quorate_disk_stalls_total', 'Writes that took more than half an election timeout.')
    this.#handovers = this.#counter(
      'quorate_disk_stall_handovers_total',
      'Stalls of the disk in which this node ceased to lead.',
    )
    this.#free = this.#gauge('quorate_disk_free_bytes', 'Free on the disk of the data directory.')
    this.#full = this.#gauge('quorate_disk_full', '1 while no more is free there than the reserve.')
    const labelNames = ['direction'] as const
    const registers = [registry]
    this.#snapshots = new Counter({
      name: 'quorate_raft_snapshots_total',
      help: 'Snapshots made durable here, sent to other nodes, and received from them.',
      labelNames,
      registers,
    })
    this.#snapshotBytes = new Counter({
      name: 'quorate_raft_snapshot_bytes_total',
      help: 'Bytes of snapshots made durable here, sent to other nodes, and received from them.',
      labelNames,
      registers,
    })
  }

  set(consensus: MetricsSample['consensus']): void {
    this.#quarantined.set(consensus.isQuarantinedNow ? 1 : 0)
    setTotal(this.#scrubbed, consensus.scrubbedBytes)
    setTotal(this.#scrubRounds, consensus.scrubRounds)
    setTotal(this.#damage, consensus.damageFound)
    setTotal(this.#mended, consensus.damageMended)
    this.#oldestWrite.set(consensus.oldestWriteMsNow / 1000)
    this.#syncP99.set(consensus.syncP99MsNow / 1000)
    setTotal(this.#stalls, consensus.stalls)
    setTotal(this.#handovers, consensus.stallHandovers)
    if (consensus.diskFreeBytesNow !== null) this.#free.set(consensus.diskFreeBytesNow)
    this.#full.set(consensus.isDiskFullNow ? 1 : 0)
    this.#snapshots.reset()
    this.#snapshots.inc({ direction: 'saved' }, consensus.snapshotsSaved)
    this.#snapshots.inc({ direction: 'sent' }, consensus.snapshotsSent)
    this.#snapshots.inc({ direction: 'received' }, consensus.snapshotsReceived)
    this.#snapshotBytes.reset()
    this.#snapshotBytes.inc({ direction: 'saved' }, consensus.snapshotBytesSaved)
    this.#snapshotBytes.inc({ direction: 'sent' }, consensus.snapshotBytesSent)
    this.#snapshotBytes.inc({ direction: 'received' }, consensus.snapshotBytesReceived)
  }

  #gauge(name: string, help: string): Gauge {
    return new Gauge({ name, help, registers: [this.#registry] })
  }

  #counter(name: string, help: string): Counter {
    return new Counter({ name, help, registers: [this.#registry] })
  }
}
