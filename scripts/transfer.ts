/**
 * How long handing leadership over takes in a cluster of three real processes: from the operator's request at the leader to
 * its answer that names the new one, and from that request to the first write acknowledged through a third node.
 */
import { parseArgs } from 'node:util'
import { startLocalCluster } from './lib/local-cluster.ts'
import { median, printTable } from './lib/table.ts'

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '20' }, json: { type: 'boolean', default: false } },
})
const rounds = Number(values.rounds)
if (!Number.isInteger(rounds) || rounds < 1) {
  console.error('usage: transfer [--rounds 20] [--json]')
  process.exit(2)
}

type Round = { round: number; from: string; to: string; answerMs: number; firstWriteMs: number }

const requestMs = 5000

async function send(url: string, init: RequestInit): Promise<Response> {
  return fetch(url, { ...init, signal: AbortSignal.timeout(requestMs) })
}

async function playRound(cluster: Awaited<ReturnType<typeof startLocalCluster>>, round: number): Promise<Round> {
  const from = await cluster.leader()
  const others = cluster.nodes.filter((node) => node.id !== from)
  const [to, third] = round % 2 === 0 ? others : others.toReversed()
  if (to === undefined || third === undefined) throw new Error('three nodes are needed')
  const begun = performance.now()
  const body = JSON.stringify({ to: to.id })
  const headers = { 'content-type': 'application/json' }
  const answer = await send(`${cluster.node(from).url}/v1/raft/transfer`, { method: 'POST', headers, body })
  const answerMs = performance.now() - begun
  if (!answer.ok) throw new Error(`transfer to ${to.id}: ${answer.status} ${await answer.text()}`)
  for (;;) {
    const write = await send(`${third.url}/v1/kv/transfer`, { method: 'PUT', body: String(round) })
    await write.body?.cancel()
    if (write.ok) return { round, from, to: to.id, answerMs, firstWriteMs: performance.now() - begun }
    if (performance.now() - begun > requestMs) throw new Error(`no write within ${requestMs} ms: ${write.status}`)
  }
}

const cluster = await startLocalCluster({ nodes: 3 })
const results: Round[] = []
try {
  for (let round = 1; round <= rounds; round += 1) results.push(await playRound(cluster, round))
} finally {
  await cluster.stop()
}
const answers = results.map((result) => result.answerMs)
const writes = results.map((result) => result.firstWriteMs)
const summary = {
  answerMs: { median: median(answers), worst: Math.max(...answers) },
  firstWriteMs: { median: median(writes), worst: Math.max(...writes) },
}
if (values.json) console.log(JSON.stringify({ results, summary }))
else {
  printTable(
    ['round', 'from', 'to', 'answer ms', 'first write ms'],
    results.map((each) => [
      String(each.round),
      each.from,
      each.to,
      each.answerMs.toFixed(0),
      each.firstWriteMs.toFixed(0),
    ]),
  )
  for (const [name, { median: middle, worst }] of Object.entries(summary))
    console.log(`${name}: median ${middle.toFixed(0)} ms, worst ${worst.toFixed(0)} ms`)
}
