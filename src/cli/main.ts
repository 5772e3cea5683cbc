#!/usr/bin/env node
/** The process around the command line: real streams, signals, exit code. Everything else is in program.ts. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { exitCodes } from './exit-codes.ts'
import { runProgram } from './program.ts'
import type { Terminal } from './terminal.ts'

const interrupt = new AbortController()
const insistence = new AbortController()
/** A launcher passes on what the terminal has sent already: within this time it is the same one. */
const sameSignalMs = 500
let firstSignalMs = Infinity
// The listener stays, so that a later one does not kill what is stopping.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => {
    const nowMs = performance.now()
    firstSignalMs = Math.min(firstSignalMs, nowMs)
    interrupt.abort()
    if (nowMs - firstSignalMs >= sameSignalMs) insistence.abort()
  })

// A reader that has seen enough (`| head`) is no failure.
const unread = new AbortController()
let unreadIsUsed = false
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  unread.abort()
  if (!unreadIsUsed) process.exit(error.code === 'EPIPE' ? 0 : exitCodes.failed)
})

let stdinIsUsed = false
const terminal: Terminal = {
  stdout: process.stdout,
  stderr: process.stderr,
  get stdin() {
    stdinIsUsed = true
    return process.stdin
  },
  env: process.env,
  get unread() {
    unreadIsUsed = true
    return unread.signal
  },
  self: ownName(process.argv[1]),
  interrupted: interrupt.signal,
  insisted: insistence.signal,
}

process.exitCode = await runProgram({
  args: process.argv.slice(2),
  terminal,
  version: ownVersion(),
  // A whole node is loaded for `start` alone: no other command has to wait for it.
  startNode: async (config, options) => (await import('../node/node.ts')).startNode(config, options),
})
if (stdinIsUsed) process.stdin.destroy()

function ownVersion(): string {
  const file = path.resolve(import.meta.dirname, '../../package.json')
  const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string }
  return version
}

/** From a clone the program is a file; installed it is a command. */
function ownName(script: string | undefined): string {
  if (script === undefined || !script.endsWith('.js')) return 'quorate'
  const short = path.relative(process.cwd(), script)
  return `node ${short.startsWith('..') ? script : short}`
}
