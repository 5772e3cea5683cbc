/**
 * The load generator for keys and values, a process of its own: takes one KvLoadPlan by message, warms up, says
 * `measuring`, keeps one request of each client in flight until time or count is over, says what it measured, and ends.
 */
import {
  clientsPerEtcdConnection,
  encodeRequests,
  openConnection,
  type Operation,
  type Protocol,
  type WireConnection,
} from './kv-wire.ts'
import { quantile } from './table.ts'

export type KvLoadPlan = {
  protocol: Protocol
  operation: Operation
  /** HOST:PORT; clients take them in turn. */
  targets: readonly string[]
  clients: number
  keys: number
  bytes: number
  warmupMs: number
  measureMs: number
  callsMax: number
}
export type KvLoadResult = {
  calls: number
  failed: number
  /** The first thing that went wrong; '' when nothing did. */
  failure: string
  seconds: number
  p50Ms: number
  p99Ms: number
  /** What this process itself spent on one call. */
  loadCpuMsPerCall: number
}
export type KvLoadMessage =
  | { kind: 'measuring' }
  | { kind: 'measured'; result: KvLoadResult }
  | { kind: 'failed'; reason: string }

type Client = { connection: WireConnection; requests: readonly Buffer[] }

/** Steps through the keys from a place of its own, so that clients do not write the same key at once. */
const step = 7919

async function run(plan: KvLoadPlan): Promise<KvLoadResult> {
  const clients = await connectAll(plan)
  const failures: string[] = []
  const call = (client: Client, number: number, done: () => void): void => {
    const request = client.requests[number % client.requests.length]
    if (request === undefined) throw new Error('there is nothing to ask')
    client.connection.send(request, (failure) => {
      if (failure !== null) failures.push(failure)
      done()
    })
  }
  /** Each client asks until `isOver`, which is told of each answer. */
  const all = (isOver: (ms: number) => boolean): Promise<void> =>
    new Promise((resolve) => {
      let running = clients.length
      for (const [at, client] of clients.entries()) {
        let number = at * step
        const next = (): void => {
          const sent = performance.now()
          number += 1
          call(client, number, () => {
            if (!isOver(performance.now() - sent)) return next()
            running -= 1
            if (running === 0) resolve()
          })
        }
        next()
      }
    })

  const warmEnd = performance.now() + plan.warmupMs
  if (plan.warmupMs > 0) await all(() => performance.now() >= warmEnd)
  failures.length = 0
  process.send?.({ kind: 'measuring' } satisfies KvLoadMessage)
  const times: number[] = []
  const cpu = process.cpuUsage()
  const start = performance.now()
  await all((ms) => {
    times.push(ms)
    return performance.now() - start >= plan.measureMs || times.length + clients.length > plan.callsMax
  })
  const seconds = (performance.now() - start) / 1000
  const { user, system } = process.cpuUsage(cpu)
  for (const { connection } of clients) connection.close()
  return {
    calls: times.length,
    failed: failures.length,
    failure: failures[0] ?? '',
    seconds,
    p50Ms: quantile(times, 0.5),
    p99Ms: quantile(times, 0.99),
    loadCpuMsPerCall: (user + system) / 1000 / times.length,
  }
}

async function connectAll(plan: KvLoadPlan): Promise<Client[]> {
  const { protocol, operation, targets, clients, keys, bytes } = plan
  const requests = new Map(
    targets.map((authority) => [authority, encodeRequests({ protocol, operation, authority, keys, bytes })]),
  )
  const shared = new Map<string, WireConnection>()
  const made: Client[] = []
  for (let number = 0; number < clients; number += 1) {
    const authority = targets[number % targets.length] ?? ''
    const [host = '', port = ''] = authority.split(':')
    const share = protocol === 'etcd-grpc' ? Math.floor(number / targets.length / clientsPerEtcdConnection) : number
    const name = `${authority} ${share}`
    const connection = shared.get(name) ?? (await openConnection(protocol, host, Number(port)))
    shared.set(name, connection)
    made.push({ connection, requests: requests.get(authority) ?? [] })
  }
  return made
}

process.once('message', (plan: KvLoadPlan) => {
  const answer = (message: KvLoadMessage): void =>
    void process.send?.(message, () => {
      if (process.connected) process.disconnect()
    })
  run(plan).then(
    (result) => answer({ kind: 'measured', result }),
    (cause: unknown) => answer({ kind: 'failed', reason: cause instanceof Error ? cause.message : String(cause) }),
  )
})
