/**
 * Whether somebody still leads the cluster that is to be given up: asks every member that is known, over HTTP, and knocks at
 * the listeners of those that do not answer there. Nobody answers is no proof: they may only be out of reach.
 */
import { connect } from 'node:net'
import { formatAddress, parseAddress } from '../vocabulary/addresses.ts'
import { AdminClient, objectOf } from './client.ts'

export type ProbeOptions = {
  readonly cluster: string
  readonly voters: readonly string[]
  /** Members by what is known of them; addresses are HOST:PORT, or empty. */
  readonly members: readonly { readonly id: string; readonly http: string; readonly listeners: readonly string[] }[]
  /** Further addresses of `listen.http`, and of listeners of whoever it may be. */
  readonly urls: readonly string[]
  readonly listeners: readonly string[]
  readonly signal: AbortSignal
}

/** A sentence for everybody who is in the way; empty: nobody who answers knows a leader, and no quorum is about to elect one. */
export async function probeLeaders(options: ProbeOptions): Promise<string[]> {
  const { cluster, voters, members, urls, listeners, signal } = options
  const known = members.filter(({ http }) => http !== '').map(({ http }) => `http://${http}`)
  const answers = await Promise.all(
    [...new Set([...urls, ...known])].map(async (url) => ({ url, answer: await ask(url, signal) })),
  )
  const own = answers.flatMap(({ url, answer }) =>
    answer === null || (answer.clusterId !== null && answer.clusterId !== cluster) ? [] : [{ url, ...answer }],
  )
  const led = own.flatMap(({ id, url, leader }) =>
    leader === null ? [] : [`${id} answers at ${url} and says that ${leader} leads`],
  )
  const leaderless = new Set(own.map(({ id }) => id))
  const running = voters.filter((id) => leaderless.has(id))
  const quorum =
    running.length > voters.length / 2
      ? [`${running.join(', ')} run, and are a quorum of ${voters.join(', ')}: they elect a leader; or stop them`]
      : []
  const silent = members.filter(({ id }) => !leaderless.has(id))
  const spoken = members.filter(({ id }) => leaderless.has(id)).flatMap((member) => member.listeners)
  const knocks = [
    ...silent.flatMap(({ id, listeners: its }) => its.map((address) => ({ id, address }))),
    ...listeners.filter((address) => !spoken.includes(address)).map((address) => ({ id: '', address })),
  ]
  const open = await Promise.all(
    knocks.map(async ({ id, address }) => ((await answersAt(address)) ? { id, address } : null)),
  )
  const heard = new Map(open.flatMap((knock) => (knock === null ? [] : [[knock.address, knock.id] as const])))
  return [
    ...(led.length > 0 ? led : quorum),
    ...[...heard].map(
      ([address, id]) =>
        `${id === '' ? 'something' : id} listens at ${address}, and says nowhere that it has no leader: stop that process, or name its listen.http with --peer`,
    ),
  ]
}

type RaftAnswer = { readonly id: string; readonly clusterId: string | null; readonly leader: string | null }

async function ask(url: string, signal: AbortSignal): Promise<RaftAnswer | null> {
  const client = new AdminClient(url, signal)
  try {
    const { body } = await client.send({ method: 'GET', path: '/v1/raft', waitMs: answerMs })
    const { id, clusterId = null, leader } = objectOf(body)
    if (typeof id !== 'string' || (leader !== null && typeof leader !== 'string')) return null
    return { id, leader, clusterId: typeof clusterId === 'string' ? clusterId : null }
  } catch {
    return null
  } finally {
    await client.close()
  }
}

function answersAt(text: string): Promise<boolean> {
  const address = parseAddress(text)
  if (address === undefined || address.port === 0) return Promise.resolve(false)
  return new Promise((resolve) => {
    const socket = connect({ host: address.host, port: address.port, timeout: answerMs })
    const end = (isThere: boolean): void => {
      socket.destroy()
      resolve(isThere)
    }
    socket.once('connect', () => end(true))
    socket.once('timeout', () => end(false))
    socket.once('error', () => end(false))
  })
}

/** As long as a node that is in trouble may take. */
const answerMs = 3000

/** The same address in one spelling; null: it is none. */
export function plainAddress(text: string | null): string | null {
  const address = text === null ? undefined : parseAddress(text)
  return address === undefined ? null : formatAddress(address)
}
