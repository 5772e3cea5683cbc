import type { Target } from './draws.ts'
import type { Home } from './fault-atlas.ts'
import { reserveBytes } from './sim-disk.ts'
import type { SimNode } from './sim-node.ts'
import type { Simulation } from './simulation.ts'
import type { Restart, StorageFault } from './storage-plan.ts'

/** Makes a disk do wrong, where the atlas allows it. */
export function performStorageFault(simulation: Simulation, fault: StorageFault): void {
  const node = find(simulation, fault.node)
  if (node === undefined) return
  if (fault.kind === 'disk-full') {
    fill(simulation, node, fault.forMs)
    return
  }
  const isAllowed = simulation.conditions.atlas.mayDamage(node.id, homeOf(fault))
  if (!isAllowed || (fault.kind === 'wipe' && !mayWipe(simulation, node))) {
    simulation.world.note('*', () => `the atlas does not allow that for ${node.id}`)
    return
  }
  simulation.damages += 1
  const { disk } = node
  switch (fault.kind) {
    case 'rot':
      rot(simulation, node, fault)
      restart(simulation, node, fault.restart)
      return
    case 'misdirect':
      disk.records.misdirectNext(fault.pick)
      restart(simulation, node, fault.restart)
      return
    case 'lose-write':
      if (fault.home === 'records') disk.records.loseNext(fault.how)
      else disk.votes.loseNext(fault.how)
      restart(simulation, node, fault.restart)
      return
    case 'cut-tail':
      node.crash('kill')
      if (fault.home === 'records') disk.records.cutTail(fault.count, disk.mayLose)
      else if (fault.home === 'votes') disk.votes.cut(fault.count)
      else disk.snapshots.damage('cut', fault.count)
      simulation.restartLater(node, fault.downMs)
      return
    case 'condemn':
      disk.isCondemned = true
      node.life?.condemn()
      simulation.restartLater(node, 500)
      return
    case 'wipe':
      node.crash('kill')
      disk.wipe(simulation.invariants.commitIndex)
      simulation.restartLater(node, fault.downMs)
      simulation.world.after(fault.operatorMs * 1000, `operator of ${node.id}`, () => simulation.operator.tend(node))
      return
  }
}

function find(simulation: Simulation, target: Target): SimNode | undefined {
  return target === 'leader' ? simulation.leader() : simulation.node(target)
}

/** Founders that have all forgotten that they did would do it again, and nobody could tell. */
function mayWipe({ nodes, plan }: Simulation, node: SimNode): boolean {
  const founders = nodes.slice(0, plan.voters)
  return !founders.includes(node) || founders.some(({ id, disk }) => id !== node.id && disk.image.lastIndex > 0)
}

function homeOf(fault: Exclude<StorageFault, { kind: 'disk-full' }>): Home | 'all' {
  if (fault.kind === 'wipe') return 'all'
  return fault.kind === 'misdirect' || fault.kind === 'condemn' ? 'records' : fault.home
}

function rot({ world }: Simulation, { id, disk }: SimNode, fault: StorageFault & { kind: 'rot' }): void {
  const { home, how, pick } = fault
  const what =
    home === 'snapshots'
      ? disk.snapshots.damage(how === 'gone' ? 'gone' : how === 'block' ? 'cut' : 'value', pick)
      : disk[home].rot(how, pick)
  world.note(id, () => `${home}: ${how} of ${what ?? 'nothing'}`)
}

function restart(simulation: Simulation, node: SimNode, when: Restart): void {
  if (when === null) return
  simulation.world.after(when.afterMs * 1000, `${node.id} looks at its disk`, () => {
    if (simulation.isHealed) return
    node.crash(when.how)
    simulation.restartLater(node, when.downMs)
  })
}

/** Less is free than what a node keeps for itself, until somebody makes room. */
function fill({ world }: Simulation, { id, disk }: SimNode, forMs: number): void {
  if (disk.freeBytes !== null) return
  disk.freeBytes = Math.floor(reserveBytes * 0.9)
  world.after(forMs * 1000, `${id} has room`, () => {
    disk.freeBytes = null
  })
}
