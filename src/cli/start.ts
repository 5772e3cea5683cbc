/**
 * `quorate start`: one node in the foreground. Stops once, in order, at the first of: SIGINT, SIGTERM or SIGHUP, which let
 * what is in flight end unless a second one comes; the end of stdin when its launcher asked for that; a failure that the node
 * can not live with; that it has left the cluster.
 */
import { Option, type Command } from 'commander'
import { checkStart } from '../config/check.ts'
import type { FlagOverride } from '../config/override.ts'
import type { Config } from '../config/schema.ts'
import type { NodeOptions, RunningNode } from '../node/node.ts'
import { deferred } from '../std/deferred.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { CommandContext } from './command.ts'
import { loadFor } from './config-file.ts'
import { exitCodes, type ExitCode } from './exit-codes.ts'
import { say, type Terminal } from './terminal.ts'

/** node/'s startNode, or what a test puts in its place. */
export type StartNode = (config: Config, options: NodeOptions) => Promise<RunningNode>

type StartOptions = Readonly<Record<string, string | boolean | undefined>> & {
  readonly config?: string
  readonly insecure?: boolean
  readonly stopWithStdin?: boolean
}

/** Flag, argument, key, what it says. */
const overrides = [
  ['--node-id', '<id>', 'node.id', 'permanent id of this node'],
  ['--data-dir', '<dir>', 'node.dataDir', 'directory of everything that must survive a restart'],
  ['--join', '<host:port,...>', 'cluster.join', 'peer addresses of nodes of the cluster'],
  ['--bootstrap-expect', '<n>', 'cluster.bootstrapExpect', 'how many nodes form the cluster together'],
  ['--token-file', '<file>', 'cluster.tokenFile', 'file that holds a join token, for a node that joins a cluster'],
  ['--secret-file', '<file>', 'cluster.secretFile', "file that holds the cluster's secret"],
  ['--listen-http', '<host:port>', 'listen.http', 'address for MCP clients and the admin API'],
  ['--listen-peer', '<host:port>', 'listen.peer', 'address for other nodes: calls'],
  ['--listen-raft', '<host:port>', 'listen.raft', 'address for other nodes: consensus'],
  ['--advertise-http', '<host:port>', 'advertise.http', 'how others reach listen.http'],
  ['--advertise-peer', '<host:port>', 'advertise.peer', 'how others reach listen.peer'],
  ['--advertise-raft', '<host:port>', 'advertise.raft', 'how others reach listen.raft'],
  ['--log-level', '<level>', 'log.level', 'debug, info, warn or error'],
] as const

export function addStart(program: Command, context: CommandContext, startNode: StartNode): void {
  const start = program.command('start').description('run one node in the foreground')
  start.option('--config <file>', 'configuration file (default: cluster.yaml)')
  for (const [flag, argument, key, about] of overrides) start.option(`${flag} ${argument}`, `${about} (${key})`)
  start
    .option('--insecure', 'let other machines reach listen.http, which has neither authentication nor TLS yet')
    .addOption(new Option('--stop-with-stdin', 'stop when stdin ends').hideHelp())
    .action((options: StartOptions) => context.run(() => runNode(context, options, startNode)))
}

async function runNode(context: CommandContext, options: StartOptions, startNode: StartNode): Promise<ExitCode> {
  const { terminal, version } = context
  const { config, origins } = loadFor(terminal, { file: options.config, flags: flagsOf(options) })
  checkStart(config, { insecure: options.insecure === true })
  const end = new EndOfNode()
  const stopped = new AbortController()
  const ask = (how: 'asked' | 'at-once'): void => {
    stopped.abort()
    end.tell({ kind: how })
  }
  const forget = onStopAsked(terminal, { withStdin: options.stopWithStdin === true, ask })
  try {
    const node = await startNode(config, {
      version,
      isNameGiven: origins.has('cluster.name'),
      stopAsked: stopped.signal,
      onFatal: (error) => end.tell({ kind: 'failed', error }),
      onLeft: () => end.tell({ kind: 'left' }),
    })
    say(terminal, `node ${node.id} serves MCP at ${node.urls.mcp}`)
    say(terminal, `next: ${terminal.self} status --url ${node.urls.http}`)
    let how = await end.first
    if (how.kind === 'asked') how = await drain(terminal, { node, end, limitMs: config.node.drainTimeoutMs })
    if (how.kind === 'left') say(terminal, `node ${node.id} has left the cluster`)
    else if (how.kind !== 'failed') say(terminal, `node ${node.id} is stopping`)
    await node.stop()
    if (how.kind === 'failed') throw how.error
    say(terminal, `node ${node.id} has stopped`)
    return exitCodes.done
  } catch (error) {
    if (!stopped.signal.aborted || !(error instanceof OperatingError) || error.code !== 'stopped') throw error
    say(terminal, error.message)
    return exitCodes.done
  } finally {
    forget()
  }
}

function flagsOf(options: StartOptions): FlagOverride[] {
  return overrides.flatMap(([flag, , key]) => {
    const value = options[camelCase(flag)]
    return typeof value === 'string' ? [{ key, flag, value }] : []
  })
}

/** `--node-id` -> `nodeId`, as commander names it. */
function camelCase(flag: string): string {
  return flag.slice(2).replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
}

/** Lets what is in flight end, unless something comes that does not wait for that. */
async function drain(
  terminal: Terminal,
  { node, end, limitMs }: { readonly node: RunningNode; readonly end: EndOfNode; readonly limitMs: number },
): Promise<End> {
  if (node.isBusy) {
    const limit = `${limitMs / 1000} s at the latest`
    say(
      terminal,
      `node ${node.id} drains: it ends when nothing is in flight, after ${limit}; a second signal ends it at once`,
    )
  }
  return Promise.race([node.drain().then((): End => ({ kind: 'asked' })), end.urgent])
}

type End = { readonly kind: 'asked' | 'at-once' | 'left' } | { readonly kind: 'failed'; readonly error: OperatingError }

/** Why a node is to end: the first reason, and the first of those that wait for nothing. */
class EndOfNode {
  readonly #first = deferred<End>()
  readonly #urgent = deferred<End>()

  get first(): Promise<End> {
    return this.#first.promise
  }

  get urgent(): Promise<End> {
    return this.#urgent.promise
  }

  tell(end: End): void {
    this.#first.resolve(end)
    if (end.kind !== 'asked') this.#urgent.resolve(end)
  }
}

function onStopAsked(
  terminal: Terminal,
  { withStdin, ask }: { readonly withStdin: boolean; readonly ask: (how: 'asked' | 'at-once') => void },
): () => void {
  const { interrupted, insisted } = terminal
  const asked = (): void => ask('asked')
  const atOnce = (): void => ask('at-once')
  interrupted.addEventListener('abort', asked, { once: true })
  insisted.addEventListener('abort', atOnce, { once: true })
  if (interrupted.aborted) asked()
  // Who launched it is gone, or ends all that it has launched: nobody waits for anything.
  if (withStdin) void endOf(terminal.stdin).then(atOnce)
  return () => {
    interrupted.removeEventListener('abort', asked)
    insisted.removeEventListener('abort', atOnce)
  }
}

/** Nothing is expected on it: only its end says something. */
async function endOf(stdin: Terminal['stdin']): Promise<void> {
  try {
    for await (const _ of stdin);
  } catch {
    // A broken pipe is an end too.
  }
}
