/** `quorate config`: check a configuration before it is used, and tell where each value comes from. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Command } from 'commander'
import { exampleSecret } from '../config/check.ts'
import type { Config } from '../config/schema.ts'
import { allServersOf } from '../config/servers.ts'
import type { ConfiguredServer } from '../vocabulary/configured-server.ts'
import { showConfig } from '../config/show.ts'
import { silentLog } from '../log/log.ts'
import { realClock } from '../std/clock.ts'
import { Random } from '../std/random.ts'
import { makeUpstreams } from '../upstream/upstreams.ts'
import type { UpstreamStatus } from '../upstream/upstream.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { printsJson, wholeNumberOption, type CommandContext } from './command.ts'
import { fileOf, loadFor } from './config-file.ts'
import { exitCodes, type ExitCode } from './exit-codes.ts'
import { printJson, printRows } from './printers.ts'
import { say, warn } from './terminal.ts'

type FileOptions = { readonly config?: string; readonly json?: boolean }
type ValidateOptions = FileOptions & { readonly connect?: boolean; readonly timeout: string }

export function addConfig(program: Command, context: CommandContext): void {
  const config = program.command('config').description('the configuration of a node')
  printsJson(config.command('validate').description('check a configuration; change nothing'))
    .option('--config <file>', 'configuration file (default: cluster.yaml)')
    .option('--connect', 'reach every server too, whatever its placement')
    .option('--timeout <ms>', 'with --connect: longest wait for a server, ms', '15000')
    .action((options: ValidateOptions) => context.run(() => validate(context, options)))
  printsJson(config.command('show').description('every value in force and where it comes from; secrets are masked'))
    .option('--config <file>', 'configuration file (default: cluster.yaml)')
    .action((options: FileOptions) => context.run(() => show(context, options)))
}

async function validate(context: CommandContext, options: ValidateOptions): Promise<ExitCode> {
  const { terminal } = context
  const { config } = loadFor(terminal, { file: options.config, flags: [] })
  if (config.cluster.secret === exampleSecret)
    warn(terminal, 'cluster.secret is the one of the example file; start refuses it')
  const servers = allServersOf(config)
  const name = fileOf(options.config) ?? 'the configuration of the environment'
  if (options.connect !== true) {
    if (options.json === true) printJson(terminal, { valid: true, servers: servers.map((server) => server.name) })
    say(terminal, `${name} is valid, with ${servers.length} servers; reach them too with --connect`)
    return exitCodes.done
  }
  const timeoutMs = wholeNumberOption('--timeout', options.timeout, 1)
  const reports = await reach(context, { config, servers, timeoutMs })
  if (options.json === true) printJson(terminal, { valid: true, servers: reports })
  else
    printRows(terminal, reports, [
      { title: 'SERVER', text: (row) => row.server },
      { title: 'STATUS', text: (row) => row.status },
      { title: 'TOOLS', text: (row) => String(row.tools) },
      { title: 'REASON', text: (row) => row.reason || '-', max: 100 },
    ])
  const missing = reports.filter((report) => report.status !== 'ready').length
  say(terminal, `${name} is valid; ${reports.length - missing} of ${reports.length} servers answer`)
  return missing === 0 ? exitCodes.done : exitCodes.failed
}

type Report = {
  readonly server: string
  readonly status: UpstreamStatus['status']
  readonly tools: number
  readonly reason: string
}

/** Starts every server as a node would, in a data directory of its own, and stops them again. */
async function reach(
  { terminal, version }: CommandContext,
  options: { config: Config; servers: readonly ConfiguredServer[]; timeoutMs: number },
): Promise<Report[]> {
  const dataDir = mkdtempSync(path.join(tmpdir(), 'quorate-validate-'))
  const seen = new Map<string, UpstreamStatus>()
  let settle: () => void = () => undefined
  const settled = new Promise<void>((resolve) => (settle = resolve))
  const isDecided = (server: ConfiguredServer): boolean => {
    const status = seen.get(server.name)?.status
    return status === 'ready' || status === 'failed'
  }
  const upstreams = makeUpstreams({
    ...noClients,
    servers: options.servers,
    dataDir,
    log: silentLog,
    clock: realClock,
    random: new Random(Date.now()),
    version,
    onStatus: (server, status) => {
      seen.set(server, status)
      if (options.servers.every(isDecided)) settle()
    },
  })
  const timer = realClock.after(options.timeoutMs, settle)
  terminal.interrupted.addEventListener('abort', settle, { once: true })
  try {
    await upstreams.start()
    if (options.servers.length > 0) await settled
    return options.servers.map((server) => reportOf(server.name, seen.get(server.name), options.timeoutMs))
  } finally {
    timer.cancel()
    terminal.interrupted.removeEventListener('abort', settle)
    await upstreams.stop()
    rmSync(dataDir, { recursive: true, force: true })
  }
}

/** Nobody is served, and nobody is asked. */
const noClients = {
  node: 'validate' as NodeId,
  generation: 0,
  sessions: { find: () => undefined, seek: () => Promise.resolve(undefined), all: () => [] },
  mail: () => undefined,
}

function reportOf(server: string, status: UpstreamStatus | undefined, timeoutMs: number): Report {
  const tools: unknown = JSON.parse(status?.offer?.tools ?? '[]')
  return {
    server,
    status: status?.status ?? 'starting',
    tools: Array.isArray(tools) ? tools.length : 0,
    reason: status?.status === 'ready' ? '' : status?.reason || `not ready within ${timeoutMs} ms`,
  }
}

async function show(context: CommandContext, options: FileOptions): Promise<ExitCode> {
  const { terminal } = context
  const rows = showConfig(loadFor(terminal, { file: options.config, flags: [] }))
  if (options.json === true) printJson(terminal, rows)
  else
    printRows(terminal, rows, [
      { title: 'KEY', text: (row) => row.key },
      { title: 'VALUE', text: (row) => shown(row.value) },
      { title: 'FROM', text: (row) => row.origin },
    ])
  return exitCodes.done
}

function shown(value: unknown): string {
  if (value === null) return '-'
  return typeof value === 'string' ? value : JSON.stringify(value)
}
