/**
 * Gossip in the simulator (test/gossip/sim.ts), in virtual time: how long until a killed node is dead on every other, until a new node
 * and a changed label or gauge are known to all, what a quiet cluster sends, and how often a healthy node is accused while one is
 * starved. `--nodes 5,25,100`, `--seeds 3`, `--json`. Bytes are those of the core's messages, without frames and encoding.
 */
import { parseArgs } from 'node:util'
import { Sim, nodeId } from '../test/gossip/sim.ts'
import type { SimOptions } from '../test/gossip/sim.ts'
import { printTable } from './lib/table.ts'

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '3,5,25,100' },
    seeds: { type: 'string', default: '3' },
    json: { type: 'boolean', default: false },
  },
})

type Figures = Readonly<Record<string, readonly number[]>>

const sizes = values.nodes.split(',').map(Number)
const seeds = Array.from({ length: Number(values.seeds) }, (_, at) => at + 1)
const results = sizes.map((nodes) => ({ nodes, figures: merge(seeds.map((seed) => measure(nodes, seed))) }))

if (values.json) console.log(JSON.stringify(results))
else {
  const names = Object.keys(results[0]?.figures ?? {})
  const rows = names.map((name) => [name, ...results.map(({ figures }) => rangeText(figures[name] ?? []))])
  printTable(['', ...sizes.map((nodes) => `${nodes} nodes`)], rows)
}

function measure(nodes: number, seed: number): Figures {
  return {
    'killed to dead on all, links silent (ms)': [killed({ nodes, seed })],
    'killed to dead on all, links refuse (ms)': [killed({ nodes, seed, linkHints: true })],
    'killed to dead on all, 10 % loss (ms)': [killed({ nodes, seed, linkHints: true, lossPerMille: 100 })],
    'new node known to all (ms)': [joined({ nodes, seed })],
    'changed label at all (ms)': [labelled({ nodes, seed })],
    'changed gauges at all (ms)': [gauged({ nodes, seed })],
    'bytes sent per second and node, nothing changes': [quiet({ nodes, seed })],
    'bytes sent per second and node, 12 gauges every 5 s': [quiet({ nodes, seed, gaugesMs: 5000 })],
    ...accusations({ nodes, seed }),
  }
}

/** A cluster that has come together and to rest. */
function formed(options: SimOptions): Sim {
  const sim = new Sim({ ...options, lossPerMille: 0 })
  if (sim.runUntil(() => isFormed(sim), 120_000) === null) throw new Error('the cluster does not form')
  sim.run(60_000)
  sim.lossPerMille = options.lossPerMille ?? 0
  return sim
}

function isFormed({ up }: Sim): boolean {
  return up.every(({ gossip }) => gossip.status().members.alive === up.length - 1)
}

function killed(options: SimOptions): number {
  const sim = formed(options)
  const victim = nodeId(0)
  sim.crash(victim)
  return until(sim, () => sim.up.every(({ gossip }) => gossip.member(victim)?.status === 'dead'))
}

function joined(options: SimOptions): number {
  const sim = formed(options)
  sim.start(nodeId(options.nodes))
  return until(sim, () => isFormed(sim))
}

function labelled(options: SimOptions): number {
  const sim = formed(options)
  sim.setState(nodeId(0), 'label', 'new')
  return until(sim, () => sim.up.every(({ gossip }) => gossip.state(nodeId(0)).get('label') === 'new'))
}

function gauged(options: SimOptions): number {
  const sim = formed(options)
  sim.setGauges(nodeId(0), new Map([['cpu', 0.5]]))
  return until(sim, () => sim.up.every(({ gossip }) => gossip.gauges(nodeId(0)).get('cpu') === 0.5))
}

function quiet(options: SimOptions): number {
  const sim = formed(options)
  const before = sim.bytesSent
  sim.run(60_000)
  return Math.round((sim.bytesSent - before) / 60 / options.nodes)
}

/** Ten minutes of 10 % loss with one node whose event loop stands still for 4 s of every 5; per node and hour, of healthy nodes. */
function accusations(options: SimOptions): Figures {
  const sim = formed({ ...options, lossPerMille: 100 })
  const starved = nodeId(0)
  const before = sim.events.length
  const minutes = 10
  for (let count = 0; count < minutes * 12; count += 1) {
    sim.pause(starved, 4000)
    sim.run(5000)
  }
  const of = (kind: string): number => {
    const healthy = sim.events.slice(before).filter((event) => event.kind === kind && event.node !== starved)
    const distinct = new Set(healthy.map(({ node, generation, incarnation }) => `${node} ${generation} ${incarnation}`))
    return Number((distinct.size / (options.nodes * (minutes / 60))).toFixed(2))
  }
  return {
    'healthy nodes suspected, per node-hour (one starved, 10 % loss)': [of('suspect')],
    'healthy nodes found dead, per node-hour (one starved, 10 % loss)': [of('dead')],
  }
}

function until(sim: Sim, probe: () => boolean): number {
  return sim.runUntil(probe, 300_000) ?? Infinity
}

function merge(all: readonly Figures[]): Figures {
  const names = Object.keys(all[0] ?? {})
  return Object.fromEntries(names.map((name) => [name, all.flatMap((figures) => figures[name] ?? [])]))
}

function rangeText(list: readonly number[]): string {
  const least = Math.min(...list)
  const most = Math.max(...list)
  return least === most ? String(least) : `${least} - ${most}`
}
