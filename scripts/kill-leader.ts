/**
 * What a client feels when the leader is killed: three real nodes under a steady load of calls and writes, SIGKILL of
 * the leader, round after round. Told are the times to the first acknowledged write and the first good call that began
 * after the kill, and what must be nothing: acknowledged writes lost, processes left. Exit code 1 when it is not.
 */
import { parseArgs } from 'node:util'
import { scriptCommand } from './lib/child-script.ts'
import { KillLoad, type Recovery } from './lib/kill-load.ts'
import { startLocalCluster, type LocalCluster, type LocalNode } from './lib/local-cluster.ts'
import { getJson } from './lib/node-process.ts'
import { isRunning } from './lib/processes.ts'
import { median, printTable } from './lib/table.ts'
import { waitFor } from '../test/wait.ts'

type Round = Recovery & { round: number; killed: string; lost: number; orphans: number }

const steadyMs = 1500
const recoveryMs = 30_000
const catchUpMs = 30_000

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '10' }, json: { type: 'boolean', default: false } },
})
const rounds = Number(values.rounds)
if (!Number.isInteger(rounds) || rounds < 1) {
  console.error('usage: kill-leader [--rounds 10] [--json]')
  process.exit(2)
}

async function main(): Promise<void> {
  const echoOn = (node: string) => ({
    ...scriptCommand('raw-server', 'stdio', 'stubborn'),
    placement: { where: { node } },
  })
  const cluster = await startLocalCluster({
    nodes: 3,
    servers: { echo1: echoOn('n1'), echo2: echoOn('n2'), echo3: echoOn('n3') },
  })
  const load = new KillLoad(cluster.nodes)
  const results: Round[] = []
  let left: number
  let lostLater = 0
  try {
    for (let round = 1; round <= rounds; round += 1) {
      results.push(await playRound(cluster, load, round))
      console.error(`round ${round} of ${rounds}: ${JSON.stringify(results.at(-1))}`)
    }
    lostLater = await load.countLostOfAll()
  } finally {
    left = (await cluster.stop()).length
    await load.close()
  }
  report(results, { left, lostLater })
}

async function playRound(cluster: LocalCluster, load: KillLoad, round: number): Promise<Round> {
  const leader = cluster.node(await cluster.leader())
  const living = cluster.nodes.filter((node) => node !== leader)
  await load.start({ round, living })
  try {
    await load.run(steadyMs)
    load.expectHealthy()
    const children = leader.children()
    load.markKill()
    await leader.kill('SIGKILL')
    const what = (): string => `a write and a call after the kill\n${load.describe()}`
    await waitFor(what, () => load.isRecovered(), recoveryMs)
    await load.run(steadyMs)
    const recovery = load.recovery()
    await leader.restart()
    const orphans = children.filter(isRunning).length
    await load.stop()
    await waitCaughtUp(cluster.nodes)
    const lost = await load.countLost()
    return { round, killed: leader.id, ...recovery, lost, orphans }
  } finally {
    await load.stop()
  }
}

/** Every node has applied what the leader had committed when the load had stopped. */
async function waitCaughtUp(nodes: readonly LocalNode[]): Promise<void> {
  const statuses = (): Promise<(Record<string, unknown> | null)[]> =>
    Promise.all(nodes.map((node) => getJson(`${node.url}/v1/status`)))
  const committed = await waitFor(
    'all nodes to tell their status',
    async () => {
      const all = await statuses()
      return all.every((status) => status !== null)
        ? Math.max(...all.map((status) => Number(status?.['commitIndex'])))
        : null
    },
    catchUpMs,
  )
  await waitFor(
    `all nodes to apply ${committed}`,
    async () => (await statuses()).every((status) => Number(status?.['appliedIndex']) >= committed),
    catchUpMs,
  )
}

function report(results: readonly Round[], { left, lostLater }: { left: number; lostLater: number }): void {
  const lost = results.reduce((sum, result) => sum + result.lost, lostLater)
  const orphans = results.reduce((sum, result) => sum + result.orphans, 0)
  const over = (value: (round: Round) => number): { median: number; worst: number } => {
    const all = results.map(value)
    return { median: median(all), worst: Math.max(...all) }
  }
  const firstWriteMs = over((round) => round.firstWriteMs)
  const firstCallMs = over((round) => round.firstCallMs)
  const callsFailed = results.reduce((sum, round) => sum + round.callsFailed, 0)
  if (values.json) {
    const totals = { firstWriteMs, firstCallMs, callsFailed, lost, orphans, left }
    console.log(JSON.stringify({ rounds: results, ...totals }, null, 2))
  } else {
    const head = [
      'round',
      'killed',
      'first write ms',
      'first call ms',
      'calls',
      'failed',
      'acked',
      'unknown',
      'lost',
      'orphans',
    ]
    const rows = results.map((round) => [
      String(round.round),
      round.killed,
      round.firstWriteMs.toFixed(0),
      round.firstCallMs.toFixed(0),
      String(round.calls),
      String(round.callsFailed),
      String(round.acknowledged),
      String(round.unknown),
      String(round.lost),
      String(round.orphans),
    ])
    printTable(head, rows)
    console.log(
      `first write after the kill: median ${firstWriteMs.median.toFixed(0)} ms, worst ${firstWriteMs.worst.toFixed(0)} ms`,
    )
    console.log(
      `first call after the kill:  median ${firstCallMs.median.toFixed(0)} ms, worst ${firstCallMs.worst.toFixed(0)} ms`,
    )
    console.log(
      `acknowledged writes lost: ${lost}; calls failed on living nodes: ${callsFailed}; processes left: ${orphans + left}`,
    )
  }
  if (lost > 0 || orphans > 0 || left > 0) process.exitCode = 1
}

await main()
