/**
 * `quorate dev`: a real cluster on this machine for trying things out. Every node is a process of its own; all of them end
 * with this one, however it ends. A node that dies later is the user's experiment: the others go on.
 */
import { connect } from 'node:net'
import path from 'node:path'
import type { Command } from 'commander'
import { deriveDevNodes, type DevNode } from '../config/dev.ts'
import { allServersOf } from '../config/servers.ts'
import { realClock } from '../std/clock.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { AdminClient, fieldText, listOf, objectOf } from './client.ts'
import { wholeNumberOption, type CommandContext } from './command.ts'
import { loadFor } from './config-file.ts'
import { startDevNode, type DevProcess } from './dev-process.ts'
import { exitCodes, type ExitCode } from './exit-codes.ts'
import { pause } from './pause.ts'
import { say, type Terminal } from './terminal.ts'

type DevOptions = { readonly nodes: string; readonly config?: string; readonly dataDir: string }

/** The file that the package ships; it is the reference too. */
const exampleFile = path.resolve(import.meta.dirname, '../../cluster.example.yaml')

const readyWithinMs = 60_000
/** How long to wait for a server to offer something to try. */
const toolWithinMs = 5000
const nodesMax = 7

export function addDev(program: Command, context: CommandContext): void {
  program
    .command('dev')
    .description('run a cluster of several nodes on this machine, to try things out')
    .option('--nodes <n>', 'how many nodes: 1, 3, 5 or 7', '3')
    .option('--config <file>', 'configuration to derive the nodes from (default: the example)')
    .option('--data-dir <dir>', 'folder of their data, configurations and logs', 'data')
    .action((options: DevOptions) => context.run(() => runCluster(context, options)))
}

async function runCluster(context: CommandContext, options: DevOptions): Promise<ExitCode> {
  const { terminal } = context
  const count = wholeNumberOption('--nodes', options.nodes, 1)
  if (count > nodesMax) throw new OperatingError('bad-request', `--nodes is at most ${nodesMax}`)
  const base = loadFor(terminal, { file: options.config ?? relative(exampleFile), flags: [] })
  const nodes = deriveDevNodes({ base, count, dataDir: options.dataDir })
  for (const node of nodes) await refuseTaken(node)
  say(terminal, `starting ${count} nodes, data in ${options.dataDir}`)
  const processes = nodes.map((node) => startDevNode(node, terminal.env))
  try {
    const failed = await firstFailure(terminal, processes)
    if (terminal.interrupted.aborted) return exitCodes.done
    if (failed !== null) {
      say(terminal, `error: ${failed.text}; the end of ${failed.process.logFile}:`)
      say(terminal, failed.process.lastLogLines())
      return exitCodes.failed
    }
    await introduce(terminal, processes, allServersOf(base.config).length > 0)
    return await untilEnd(terminal, processes)
  } finally {
    await Promise.all(processes.map((process) => process.stop()))
    say(terminal, 'all nodes have stopped')
  }
}

/** Another cluster on the same address would answer for a node of ours that could not start. */
async function refuseTaken(node: DevNode): Promise<void> {
  const { hostname, port } = new URL(node.httpUrl)
  const socket = connect({ host: hostname.replaceAll(/[[\]]/g, ''), port: Number(port || 80) })
  const isTaken = await new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(true))
    socket.once('error', () => resolve(false))
  })
  socket.destroy()
  if (isTaken)
    throw new OperatingError(
      'listen-failed',
      `something else listens at ${node.httpUrl} already; stop it, or set another listen.http in a file for --config`,
    )
}

/** Null when every node is ready, or a stop was asked for. */
async function firstFailure(
  terminal: Terminal,
  processes: readonly DevProcess[],
): Promise<{ process: DevProcess; text: string } | null> {
  const deadline = realClock.monotonic() + readyWithinMs
  for (;;) {
    if (terminal.interrupted.aborted) return null
    const ended = processes.find((process) => process.ending !== null)
    if (ended !== undefined) return { process: ended, text: `node ${ended.node.id} ${ended.ending}` }
    const ready = await Promise.all(processes.map((process) => isReady(terminal, process)))
    const slow = processes[ready.indexOf(false)]
    if (slow === undefined) return null
    if (realClock.monotonic() > deadline)
      return { process: slow, text: `node ${slow.node.id} is not ready after ${readyWithinMs / 1000} s` }
    await pause(terminal.interrupted, 100)
  }
}

async function isReady(terminal: Terminal, process: DevProcess): Promise<boolean> {
  return (await ask(terminal, process, '/readyz')) !== null
}

/** Null while the node does not answer, or not with success. */
async function ask(terminal: Terminal, process: DevProcess, what: string): Promise<unknown> {
  const client = new AdminClient(process.node.httpUrl, terminal.interrupted)
  try {
    return await client.get(what)
  } catch {
    return null
  } finally {
    await client.close()
  }
}

async function introduce(terminal: Terminal, processes: readonly DevProcess[], hasServers: boolean): Promise<void> {
  const { stdout, self } = terminal
  for (const { node, pid, logFile } of processes)
    stdout.write(`node ${node.id} is ready at ${node.httpUrl}  process ${pid}  log ${logFile}\n`)
  const [first, second] = processes
  if (first === undefined) return
  const url = first.node.httpUrl === 'http://127.0.0.1:6270' ? '' : ` --url ${first.node.httpUrl}`
  stdout.write(`MCP URL for a client: ${first.node.httpUrl}/mcp\n`)
  const tool = hasServers ? await toolToTry(terminal, first) : null
  stdout.write(`try: ${self} tool ${tool === null ? 'list' : `call ${tool}`}${url}\n`)
  if (second !== undefined)
    say(terminal, `kill a node, and call again through another with --url ${second.node.httpUrl}; Ctrl-C stops all`)
  else say(terminal, 'Ctrl-C stops it')
}

/** A tool that needs no arguments. */
async function toolToTry(terminal: Terminal, process: DevProcess): Promise<string | null> {
  const deadline = realClock.monotonic() + toolWithinMs
  while (realClock.monotonic() < deadline && !terminal.interrupted.aborted) {
    const tools = listOf(await ask(terminal, process, '/v1/tools'), 'tools')
    const easy = tools.find((tool) => {
      const required = objectOf(objectOf(tool['definition'])['inputSchema'])['required']
      return !Array.isArray(required) || required.length === 0
    })
    if (easy !== undefined) return fieldText(easy, 'name')
    await pause(terminal.interrupted, 100)
  }
  return null
}

/** Ends when a stop is asked for, or when no node is left. */
async function untilEnd(terminal: Terminal, processes: readonly DevProcess[]): Promise<ExitCode> {
  const stopAsked = new Promise<'stop'>((resolve) => {
    if (terminal.interrupted.aborted) resolve('stop')
    terminal.interrupted.addEventListener('abort', () => resolve('stop'), { once: true })
  })
  const allEnded = Promise.all(
    processes.map(async (process) => {
      await process.ended
      if (terminal.interrupted.aborted) return
      say(
        terminal,
        `node ${process.node.id} ${process.ending}; start it again with: ${terminal.self} start --config ${process.node.configFile}`,
      )
    }),
  )
  if ((await Promise.race([stopAsked, allEnded])) === 'stop') return exitCodes.done
  say(terminal, 'error: no node is left')
  return exitCodes.failed
}

function relative(file: string): string {
  const short = path.relative(process.cwd(), file)
  return short.startsWith('..') ? file : short
}
