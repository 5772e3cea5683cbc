import type { NodeId } from '../../src/vocabulary/ids.ts'
import type { Target } from './draws.ts'
import type { Fault } from './plan.ts'
import type { SimNode } from './sim-node.ts'
import type { Simulation } from './simulation.ts'
import { performStorageFault } from './storage-faults.ts'
import { isStorageFault } from './storage-plan.ts'

/** Makes one fault of a plan happen. */
export function performFault(simulation: Simulation, fault: Fault): void {
  if (simulation.isHealed) return
  const { world } = simulation
  world.note('*', () => `fault: ${JSON.stringify(fault)}`)
  if (isStorageFault(fault)) {
    performStorageFault(simulation, fault)
    return
  }
  switch (fault.kind) {
    case 'crash':
      crash(simulation, fault)
      return
    case 'pause':
      find(simulation, fault.node)?.life?.process.pause(fault.forMs * 1000)
      return
    case 'main-pause':
      find(simulation, fault.node)?.life?.stopMain(fault.forMs * 1000)
      return
    case 'isolate': {
      const node = find(simulation, fault.node)
      if (node === undefined) return
      cutFor(simulation, fault.forMs, (from, to) => {
        return (fault.how !== 'in' && from === node.id) || (fault.how !== 'out' && to === node.id)
      })
      return
    }
    case 'halves': {
      const side = new Set(fault.side.map((at) => simulation.node(at).id))
      cutFor(simulation, fault.forMs, (from, to) =>
        fault.oneWay ? side.has(from) && !side.has(to) : side.has(from) !== side.has(to),
      )
      return
    }
    case 'ring': {
      const ids = simulation.nodes.map(({ id }) => id)
      cutFor(simulation, fault.forMs, (from, to) => {
        const apart = (ids.indexOf(to) - ids.indexOf(from) + ids.length) % ids.length
        return apart !== 1 && apart !== ids.length - 1
      })
      return
    }
    case 'bridge': {
      const middle = find(simulation, fault.node)?.id
      const side = new Set(fault.side.map((at) => simulation.node(at).id))
      cutFor(simulation, fault.forMs, (from, to) => from !== middle && to !== middle && side.has(from) !== side.has(to))
      return
    }
    case 'break-link': {
      const from = find(simulation, fault.from)
      if (from !== undefined) simulation.network.breakLink(from.id, simulation.node(fault.to).id)
      return
    }
    case 'slow-link': {
      const from = find(simulation, fault.from)
      if (from === undefined) return
      const to = simulation.node(fault.to).id
      simulation.network.slowDown(from.id, to, fault.factor)
      world.after(fault.forMs * 1000, 'link is fast again', () => simulation.network.slowDown(from.id, to, 1))
      return
    }
    case 'stall': {
      const node = find(simulation, fault.node)
      if (node !== undefined) node.disk.stalledUntilUs = world.nowUs + fault.forMs * 1000
      return
    }
    case 'write-error': {
      const node = find(simulation, fault.node)
      if (node === undefined) return
      node.disk.failNext = fault.data
      simulation.restartLater(node, 300 + fault.downMs)
      return
    }
    case 'wall-jump': {
      const node = find(simulation, fault.node)
      if (node !== undefined) node.wallOffsetMs += fault.byMs
      return
    }
    case 'transfer':
      simulation.leader()?.life?.transfer(fault.to === null ? null : simulation.node(fault.to).id)
      return
    case 'change':
      change(simulation, fault)
      return
  }
}

function find(simulation: Simulation, target: Target): SimNode | undefined {
  return target === 'leader' ? simulation.leader() : simulation.node(target)
}

function crash(simulation: Simulation, fault: Fault & { kind: 'crash' }): void {
  const node = find(simulation, fault.node)
  const life = node?.life
  if (node === undefined || life === null || life === undefined) return
  const fall = (): void => {
    if (node.life !== life || simulation.isHealed) return
    node.crash(fault.how)
    simulation.restartLater(node, fault.downMs)
  }
  if (fault.boundary === null) fall()
  else life.process.arm(fault.boundary.at, fault.boundary.count, fall)
}

function cutFor(simulation: Simulation, ms: number, isCut: (from: NodeId, to: NodeId) => boolean): void {
  const { nodes, network, world } = simulation
  const cuts: [NodeId, NodeId][] = []
  for (const { id: from } of nodes) {
    for (const { id: to } of nodes) {
      if (from === to || network.isCut(from, to) || !isCut(from, to)) continue
      network.cut(from, to)
      cuts.push([from, to])
    }
  }
  world.after(ms * 1000, 'links heal', () => {
    if (!simulation.isHealed) for (const [from, to] of cuts) network.heal(from, to)
  })
}

function change(simulation: Simulation, fault: Fault & { kind: 'change' }): void {
  const node = find(simulation, fault.node)
  const asked = simulation.leader()
  if (node === undefined || asked === undefined) return
  const change =
    fault.change === 'add-learner' || fault.change === 'add-promotable'
      ? { kind: 'add-learner' as const, node: node.id, promote: fault.change === 'add-promotable' }
      : { kind: fault.change, node: node.id }
  simulation.conditions.change(asked, change, (how) => {
    simulation.world.note('*', () => `change ${JSON.stringify(change)}: ${how}`)
  })
}
