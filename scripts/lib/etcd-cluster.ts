/** Three etcd processes on loopback with their defaults, to measure against. Ended by stop, and when this process ends. */
import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import path from 'node:path'
import { freePorts } from './free-ports.ts'
import { waitFor } from '../../test/wait.ts'

const readyMs = 20_000
const requestMs = 2000

export type EtcdCluster = {
  readonly pids: readonly number[]
  readonly dataDirs: readonly string[]
  /** HOST:PORT of each, the leader first. */
  readonly targets: readonly string[]
  /** The binary's own word. */
  readonly version: string
  stop(): Promise<void>
}

export async function startEtcd(dir: string, nodes: number): Promise<EtcdCluster> {
  const ports = await freePorts(nodes * 2)
  const names = Array.from({ length: nodes }, (_, at) => `e${at + 1}`)
  const peerUrl = (at: number): string => `http://127.0.0.1:${ports[at * 2 + 1]}`
  const clientUrl = (at: number): string => `http://127.0.0.1:${ports[at * 2]}`
  const cluster = names.map((name, at) => `${name}=${peerUrl(at)}`).join(',')
  const log = openSync(path.join(dir, 'etcd.log'), 'a')
  const children = names.map((name, at) =>
    spawn(
      'etcd',
      Object.entries({
        name: name,
        'data-dir': path.join(dir, name),
        'listen-client-urls': clientUrl(at),
        'advertise-client-urls': clientUrl(at),
        'listen-peer-urls': peerUrl(at),
        'initial-advertise-peer-urls': peerUrl(at),
        'initial-cluster': cluster,
        logger: 'zap',
        'log-outputs': 'stderr',
      }).flatMap(([option, value]) => [`--${option}`, value]),
      { stdio: ['ignore', log, log] },
    ),
  )
  closeSync(log)
  let failure: string | null = null
  for (const child of children) child.once('error', (error) => (failure = error.message))
  const endAll = (): void => {
    for (const child of children) child.kill('SIGKILL')
  }
  process.once('exit', endAll)
  const stop = async (): Promise<void> => {
    endAll()
    await waitFor(
      'etcd to end',
      () => children.every((child) => child.exitCode ?? child.signalCode ?? failure),
      readyMs,
    )
    process.off('exit', endAll)
  }
  try {
    const found = await waitFor(
      () => `etcd to elect a leader; its log is ${path.join(dir, 'etcd.log')}`,
      async () => {
        if (failure !== null) throw new Error(`etcd did not start (apt-get install etcd-server): ${failure}`)
        const states = await Promise.all(names.map((_, at) => statusOf(clientUrl(at))))
        const leader = states.findIndex((state) => state !== null && state.leader === state.self)
        return leader === -1 ? null : { leader, version: states[leader]?.version ?? '' }
      },
      readyMs,
    )
    const order = [found.leader, ...names.keys()].filter((at, place, all) => all.indexOf(at) === place)
    return {
      pids: children.map((child) => child.pid ?? 0),
      dataDirs: names.map((name) => path.join(dir, name)),
      targets: order.map((at) => `127.0.0.1:${ports[at * 2]}`),
      version: found.version,
      stop,
    }
  } catch (cause) {
    await stop()
    throw cause
  }
}

async function statusOf(url: string): Promise<{ self: string; leader: string; version: string } | null> {
  try {
    const signal = AbortSignal.timeout(requestMs)
    const response = await fetch(`${url}/v3/maintenance/status`, { method: 'POST', body: '{}', signal })
    const body = (await response.json()) as { header?: { member_id?: string }; leader?: string; version?: string }
    return { self: body.header?.member_id ?? '', leader: body.leader ?? '', version: body.version ?? '' }
  } catch {
    return null
  }
}
