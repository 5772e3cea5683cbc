/**
 * What gossip costs and how fast it is, in four parts (`--parts simulated,sockets,processes,joins`, all by default):
 * `simulated` in virtual time (test/gossip/sim.ts): how long until a killed node is dead on every other, until a new node and a
 *   changed label or gauge are known to all, what a quiet cluster sends, how often a healthy node is accused while one is starved;
 *   bytes are those of the core's messages, without frames and encoding. `--nodes 3,5,25,100`, `--seeds 3`.
 * `sockets`: drivers over real sockets in this process, at `--drivers 3,10`.
 * `processes`: whole nodes, killed with SIGKILL, at `--processes 3,5`, `--rounds 5`; needs a build, as `joins` does.
 * `joins`: five nodes form a cluster, five more join it at once by a token.
 * `--json` for programs.
 */
import { parseArgs } from 'node:util'
import { Sim, nodeId } from '../test/gossip/sim.ts'
import type { SimOptions } from '../test/gossip/sim.ts'
import { RealGossip } from '../test/peers/real-gossip.ts'
import { waitFor } from '../test/wait.ts'
import { formAndJoin, killedToDead, quietBytes } from './lib/gossip-processes.ts'
import { printTable } from './lib/table.ts'

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '3,5,25,100' },
    seeds: { type: 'string', default: '3' },
    parts: { type: 'string', default: 'simulated,sockets,processes,joins' },
    drivers: { type: 'string', default: '3,10' },
    processes: { type: 'string', default: '3,5' },
    rounds: { type: 'string', default: '5' },
    json: { type: 'boolean', default: false },
  },
})

type Figures = Readonly<Record<string, readonly number[]>>

const sizesOf = (text: string): readonly number[] => text.split(',').map(Number)
const parts = values.parts.split(',')
const seeds = Array.from({ length: Number(values.seeds) }, (_, at) => at + 1)

if (parts.includes('simulated')) {
  await report('simulated nodes', sizesOf(values.nodes), (nodes) => merge(seeds.map((seed) => measure(nodes, seed))))
}
if (parts.includes('sockets')) await report('drivers over sockets', sizesOf(values.drivers), overSockets)
if (parts.includes('processes')) {
  await report('processes', sizesOf(values.processes), async (nodes) => ({
    'SIGKILL to dead on all (ms)': await killedToDead(nodes, Number(values.rounds)),
    'bytes sent per second and node, quiet': await quietBytes(nodes, 30),
  }))
}
if (parts.includes('joins')) {
  await report('founders, and five that join', [5], async (founders) => {
    const { formedMs, readyMs, knownMs } = await formAndJoin(founders, 5)
    return {
      'start to formed, all ready (ms)': [formedMs],
      'start of five joiners to all ready (ms)': [readyMs],
      'start of five joiners to ten known to ten (ms)': [knownMs],
    }
  })
}

async function report(
  what: string,
  sizes: readonly number[],
  measured: (size: number) => Figures | Promise<Figures>,
): Promise<void> {
  const results: { readonly nodes: number; readonly figures: Figures }[] = []
  for (const nodes of sizes) results.push({ nodes, figures: await measured(nodes) })
  if (values.json) {
    console.log(JSON.stringify({ what, results }))
    return
  }
  const names = Object.keys(results[0]?.figures ?? {})
  const rows = names.map((name) => [name, ...results.map(({ figures }) => rangeText(figures[name] ?? []))])
  printTable([what, ...sizes.map(String)], rows)
  console.log()
}

/** Probes each second, as a node does by default; five keep their lanes to all. */
async function overSockets(nodes: number): Promise<Figures> {
  const gossip = new RealGossip({ voters: 5, speed: 1 })
  const since = async (what: string, probe: () => boolean): Promise<number> => {
    const startedAt = performance.now()
    await waitFor(what, probe, 60_000)
    return Math.round(performance.now() - startedAt)
  }
  const knowAll = (): boolean => gossip.nodes.every(({ driver }) => driver.status().members.alive === nodes - 1)
  try {
    await gossip.start(nodes)
    const formedMs = await since('all to know all', knowAll)
    await new Promise((resolve) => setTimeout(resolve, 10_000))
    const labels: number[] = []
    const gauges: number[] = []
    for (const { id, driver } of gossip.nodes.slice(0, 3)) {
      const said = (): ReturnType<typeof driver.said>[] => gossip.nodes.map((other) => other.driver.said(id))
      driver.setState('label.zone', 'new')
      labels.push(await since('the label', () => said().every(({ state }) => state.get('label.zone') === 'new')))
      driver.setGauges(new Map([['cpu', 0.5]]))
      gauges.push(await since('the gauge', () => said().every(({ gauges: all }) => all.get('cpu') === 0.5)))
    }
    return {
      'start to all known to all (ms)': [formedMs],
      'changed label at all (ms)': labels,
      'changed gauges at all (ms)': gauges,
    }
  } finally {
    await gossip.stop()
  }
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
