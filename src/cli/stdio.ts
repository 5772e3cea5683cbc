/**
 * `quorate stdio`: an MCP server on stdin and stdout, for clients that can only start programs; all it does is to bring
 * them to a cluster. Ends with stdin, at a signal, or when nobody reads stdout. Stdout has nothing but MCP messages.
 */
import { randomInt } from 'node:crypto'
import { Option, type Command } from 'commander'
import { Random } from '../std/random.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { LineSplitter } from '../upstream/line-splitter.ts'
import { defaultUrl } from './client.ts'
import type { CommandContext } from './command.ts'
import { exitCodes, type ExitCode } from './exit-codes.ts'
import { StdioBridge } from './stdio-bridge.ts'
import { silenceDefaults } from './stdio-nodes.ts'
import { harmless, say, warn, type Terminal } from './terminal.ts'

type StdioOptions = { readonly url?: string; readonly path: string }

const urlsMax = 16
/** One message of the client. */
const lineBytesMax = 16 * 1024 * 1024
/** How long a message waits for a node that takes it. */
const patienceMs = 10_000
/** How long answers are waited for after stdin has ended. */
const answersLimitMs = 5000

export function addStdio(program: Command, context: CommandContext): void {
  program
    .command('stdio')
    .description('an MCP stdio server that bridges a client to the cluster')
    .addOption(
      new Option(
        '--url <url,...>',
        `addresses of nodes' listen.http, tried in turn (or QUORATE_URL; default ${defaultUrl})`,
      ),
    )
    .option('--path <path>', 'what to serve: /mcp, /mcp/{server} or /mcp/group/{group}', '/mcp')
    .action((options: StdioOptions) => context.run(() => bridge(context.terminal, options)))
}

async function bridge(terminal: Terminal, options: StdioOptions): Promise<ExitCode> {
  const urls = urlsOf(options, terminal.env['QUORATE_URL'])
  const bridge = new StdioBridge({
    urls,
    patienceMs,
    silence: silenceDefaults,
    random: new Random(randomInt(2 ** 32 - 1)),
    write: (line) => void terminal.stdout.write(`${line}\n`),
    say: (text) => say(terminal, harmless(terminal.stderr, text)),
  })
  const names = urls.map((url) => `${url.origin}${url.pathname}`)
  say(terminal, `MCP on stdin and stdout for ${names.join(', ')}; ends with stdin`)
  const read = async (): Promise<void> => {
    for await (const line of linesOf(terminal, bridge)) await bridge.take(line)
    await bridge.finish(answersLimitMs)
  }
  await Promise.race([read(), aborted(terminal.interrupted), aborted(terminal.unread)])
  const code = bridge.isRefused ? exitCodes.unavailable : exitCodes.done
  await bridge.stop()
  return code
}

/** The MCP address at each node. An address that names it already is taken as it is. */
function urlsOf({ url, path }: StdioOptions, fromEnv: string | undefined): readonly URL[] {
  const texts = (url ?? fromEnv ?? defaultUrl).split(',').map((text) => text.trim())
  if (!/^\/mcp(?:\/[^?#]+)?$/.test(path))
    throw new OperatingError('bad-request', `--path is /mcp or begins with /mcp/, not ${JSON.stringify(path)}`)
  if (texts.length > urlsMax) throw new OperatingError('bad-request', `--url takes at most ${urlsMax} addresses`)
  return texts.map((text) => {
    const parsed = URL.canParse(text) ? new URL(text) : null
    if (parsed === null || !/^https?:$/.test(parsed.protocol))
      throw new OperatingError('bad-request', `${JSON.stringify(text)} is no http address; for example ${defaultUrl}`)
    if (!/\/mcp(?:\/|$)/.test(parsed.pathname)) parsed.pathname = `${parsed.pathname.replace(/\/+$/, '')}${path}`
    return parsed
  })
}

async function* linesOf(terminal: Terminal, bridge: StdioBridge): AsyncGenerator<string, void, void> {
  const lines: string[] = []
  const splitter = new LineSplitter(lineBytesMax, {
    line: (text) => {
      if (text.trim() !== '') lines.push(text)
    },
    tooLong() {
      const message = `a line of more than ${lineBytesMax} bytes was dropped`
      warn(terminal, message)
      bridge.refuse(message)
    },
  })
  try {
    for await (const part of terminal.stdin) {
      splitter.push(Buffer.from(part))
      yield* lines.splice(0)
    }
  } catch {
    // A broken pipe is an end too.
  }
  splitter.finish()
  yield* lines
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  await new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
