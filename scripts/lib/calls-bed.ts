/**
 * What measurements of calls need: a small raw server over HTTP and over stdio, a stdio server of the official SDK, a bare
 * relay for each, a cluster that has the servers on n1, and the ways from a client to them. Whatever it started is ended.
 */
import type { ChildProcess } from 'node:child_process'
import { forkScript, forkServer, scriptCommand } from './child-script.ts'
import { freePorts } from './free-ports.ts'
import type { LoadMessage, LoadPlan, LoadResult } from './load.ts'
import { startLocalCluster, type LocalCluster } from './local-cluster.ts'
import { cpuMs } from './processes.ts'
import { callTool, createAgent, openSession } from './raw-mcp.ts'
import { waitFor } from '../../test/wait.ts'

/** One way from the client to a server. */
export type CallPath = {
  readonly name: string
  readonly target: LoadPlan['target']
  readonly tool: string
  /** Names of the paths to the same server that it is compared with: without anything between, and with a bare relay. */
  readonly direct: string
  readonly relay: string
  /** What stands between client and server: each one's name and pid. */
  readonly between: readonly { readonly name: string; pid(): number }[]
}

/** `cpuUs`: of each that stands between, per call; heartbeats of nodes included. */
export type Measurement = LoadResult & { readonly cpuUs: Readonly<Record<string, number>> }

export type CallsBed = { readonly cluster: LocalCluster; readonly paths: readonly CallPath[]; stop(): Promise<void> }

const catalogMs = 20_000
/** Beyond warm-up and measuring: start of the process, opening of the sessions and the last calls. */
const loadSlackMs = 60_000
const sessionsMax = 20_000

export async function startBed(options: { nodes: number; nodeArgs?: readonly string[] }): Promise<CallsBed> {
  const ports = await freePorts(4)
  const [serverPort = 0, relayPort = 0, rawRelayPort = 0, sdkRelayPort = 0] = ports
  const children: ChildProcess[] = []
  const raw = scriptCommand('raw-server', 'stdio')
  const sdk = scriptCommand('sdk-stdio-server')
  const url = mcpAt(serverPort)
  const stopChildren = (): void => {
    for (const child of children) child.disconnect()
  }
  const start = async (name: string, ...args: string[]): Promise<CallPath['between'][number]> => {
    const child = await forkServer(name, ...args)
    children.push(child)
    return { name: 'relay', pid: () => child.pid ?? 0 }
  }
  try {
    await start('raw-server', 'http', String(serverPort))
    const relay = await start('bare-relay', String(relayPort), String(serverPort))
    const rawRelay = await start('stdio-relay', String(rawRelayPort), raw.command, ...raw.args)
    const sdkRelay = await start('stdio-relay', String(sdkRelayPort), sdk.command, ...sdk.args)
    const placement = { where: { node: 'n1' } }
    const cluster = await startLocalCluster({
      ...options,
      servers: { http: { url, placement }, stdio: { ...raw, placement }, sdk: { ...sdk, placement } },
      config: { log: { level: 'warn' }, mcp: { sessionsMax } },
    })
    const n1 = { name: 'n1', pid: () => cluster.node('n1').pid }
    const last = cluster.nodes.at(-1) ?? cluster.node('n1')
    const entry = { name: last.id, pid: () => last.pid }
    const one = cluster.node('n1').mcpUrl
    const waysTo = (
      server: string,
      [direct, relayUrl, relay]: readonly [CallPath['target'], string, CallPath['between'][number]],
      suffix: string,
    ): CallPath[] => {
      const names = { direct: `direct${suffix}`, relay: `bare relay${suffix}` }
      const behind = `${server}__echo`
      return [
        { ...names, name: names.direct, target: direct, tool: 'echo', between: [] },
        { ...names, name: names.relay, target: relayUrl, tool: 'echo', between: [relay] },
        { ...names, name: `one node${suffix}`, target: one, tool: behind, between: [n1] },
        { ...names, name: `two nodes${suffix}`, target: last.mcpUrl, tool: behind, between: [entry, n1] },
      ]
    }
    const paths = [
      ...waysTo('http', [url, mcpAt(relayPort), relay], ''),
      ...waysTo('stdio', [raw, mcpAt(rawRelayPort), rawRelay], ' to raw stdio'),
      ...waysTo('sdk', [sdk, mcpAt(sdkRelayPort), sdkRelay], ' to SDK stdio'),
    ]
    for (const { target, tool } of paths) if (typeof target === 'string') await waitCallable(target, tool)
    const stop = async (): Promise<void> => {
      await cluster.stop()
      stopChildren()
    }
    return { cluster, paths, stop }
  } catch (cause) {
    stopChildren()
    throw cause
  }
}

function mcpAt(port: number): string {
  return `http://127.0.0.1:${port}/mcp`
}

export function pathNamed(bed: CallsBed, name: string): CallPath {
  const path = bed.paths.find((path) => path.name === name)
  if (path === undefined) throw new Error(`there is no path ${name}: ${bed.paths.map(({ name }) => name).join(', ')}`)
  return path
}

export type LoadOptions = Pick<LoadPlan, 'bytes' | 'sessions' | 'warmupMs' | 'measureMs' | 'callsMax'>

export function measure(path: CallPath, options: LoadOptions): Promise<Measurement> {
  const child = forkScript('load')
  return new Promise<Measurement>((resolve, reject) => {
    let before = new Map<string, number>()
    const limit = setTimeout(
      () => {
        child.kill('SIGKILL')
        reject(new Error(`the load on ${path.name} did not end in time`))
      },
      options.warmupMs + options.measureMs + loadSlackMs,
    )
    child.once('exit', () => {
      clearTimeout(limit)
      reject(new Error(`the load on ${path.name} ended without a result`))
    })
    child.on('message', (message: LoadMessage) => {
      if (message.kind === 'measuring') before = cpuOf(path)
      else if (message.kind === 'failed') reject(new Error(`${path.name}: ${message.reason}`))
      else {
        const after = cpuOf(path)
        const perCall = (name: string): number =>
          (((after.get(name) ?? 0) - (before.get(name) ?? 0)) * 1000) / message.result.calls
        const cpuUs = Object.fromEntries(path.between.map(({ name }) => [name, perCall(name)]))
        resolve({ ...message.result, cpuUs })
      }
    })
    child.send({ target: path.target, tool: path.tool, ...options } satisfies LoadPlan)
  })
}

function cpuOf(path: CallPath): Map<string, number> {
  return new Map(path.between.map((part) => [part.name, cpuMs(part.pid()) ?? Number.NaN]))
}

async function waitCallable(url: string, tool: string): Promise<void> {
  const agent = createAgent(1)
  let last = ''
  const probe = async (): Promise<boolean> => {
    const session = await openSession(url, agent)
    const wrong = await callTool(session, { id: 1, name: tool, arguments: { text: '' } })
    last = wrong ?? ''
    return wrong === null
  }
  try {
    await waitFor(() => `${tool} at ${url}: ${last}`, probe, catalogMs)
  } finally {
    await agent.destroy()
  }
}
