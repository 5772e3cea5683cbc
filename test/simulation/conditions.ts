import { changeConfiguration } from '../../src/raft/configuration.ts'
import type { Configuration, ConfigurationChange } from '../../src/raft/configuration.ts'
import { isMember } from '../../src/raft/quorum.ts'
import type { Index } from '../../src/raft/entry.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { FaultAtlas } from './fault-atlas.ts'
import type { Condition } from './fault-atlas.ts'
import type { DiskImage } from './disk-image.ts'
import type { Invariants } from './invariants.ts'
import type { Lost } from './loss.ts'
import { openConfigurations } from './node-view.ts'
import type { SimNode } from './sim-node.ts'

/** What the fault atlas has to know, read off the cluster as it is; and the operator's changes, which have to ask it too. */
export class Conditions {
  readonly atlas: FaultAtlas
  readonly #nodes: () => readonly SimNode[]
  readonly #invariants: Invariants
  /** Asked for and not answered: they may still come to rule. */
  readonly #asked = new Set<{ readonly configuration: Configuration; readonly isOpen: () => boolean }>()

  constructor(nodes: () => readonly SimNode[], invariants: Invariants) {
    this.#nodes = nodes
    this.#invariants = invariants
    this.atlas = new FaultAtlas({ ruling: () => this.ruling(), condition: (node) => this.#condition(node) })
  }

  /** The newest that is committed, all in logs that may still be committed, and what they become by what was asked for. */
  ruling(): readonly Configuration[] {
    const committed = this.#invariants.configuration()
    const open = this.#nodes().flatMap(({ id }) => {
      const view = this.#invariants.view(id)
      return view === undefined ? [] : openConfigurations(view, this.#invariants.commitIndex)
    })
    for (const asked of this.#asked) if (!asked.isOpen()) this.#asked.delete(asked)
    const due = [...this.#asked].map(({ configuration }) => configuration)
    return committed === null ? open : [committed, ...open, ...due]
  }

  /** Asks whoever leads for the change, unless it would leave too few that are sound. */
  change(leader: SimNode, change: ConfigurationChange, answered: (how: string) => void): void {
    const { life } = leader
    const committed = this.#invariants.configuration()
    if (life === null || committed === null) return
    const configuration = changeConfiguration(committed, change)
    if (configuration !== undefined && !this.atlas.mayChange(configuration)) return
    let isOpen = true
    if (configuration !== undefined) this.#asked.add({ configuration, isOpen: () => isOpen && leader.life === life })
    life.change({ kind: 'change', change }, (answer) => {
      isOpen = false
      answered(answer.kind === 'done' ? 'committed' : answer.why)
    })
  }

  /** Whether a node from which all was taken may come back as it is. */
  mayComeBlank({ id, disk }: SimNode): boolean {
    return this.#invariants.mayComeBlank(id, disk.wipedAt)
  }

  /**
   * Whether a node may lose these entries without knowing it: each is committed, and a sound majority of all that rules has
   * it besides.
   */
  isHarmless(id: NodeId, { from }: Lost): boolean {
    const image = this.#imageOf(id)
    if (image === undefined || image.lastIndex > this.#invariants.commitIndex) return false
    const isHeld = (other: NodeId): boolean => {
      const theirs = this.#imageOf(other)
      return (
        other !== id && theirs !== undefined && theirs.lastIndex >= image.lastIndex && this.#isOf(theirs, image, from)
      )
    }
    return this.atlas.isEnough(isHeld)
  }

  #isOf(theirs: DiskImage, image: DiskImage, from: Index): boolean {
    for (let index = from; index <= image.lastIndex; index += 1) {
      const term = theirs.term(index)
      if (index >= theirs.firstIndex && term !== image.term(index)) return false
    }
    return true
  }

  #imageOf(id: NodeId): DiskImage | undefined {
    return this.#nodes().find((each) => each.id === id)?.disk.image
  }

  #condition(id: NodeId): Condition {
    const node = this.#nodes().find((each) => each.id === id)
    if (node === undefined) return { damaged: new Set(), isRecovering: false, isWiped: false }
    const { disk } = node
    const { hardState, lastIndex } = disk.image
    const configuration = this.#invariants.configuration()
    // It is back when it has a log and counts.
    const isBack = lastIndex > 0 && !hardState.isRecovering && configuration !== null && isMember(configuration, id)
    if (disk.isWiped && isBack) disk.isWiped = false
    return { damaged: disk.damaged, isRecovering: hardState.isRecovering, isWiped: disk.isWiped }
  }
}
