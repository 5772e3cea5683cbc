import { spawn, type ChildProcess } from 'node:child_process'
import type { Clock, Timer } from '../std/clock.ts'
import { deferred } from '../std/deferred.ts'
import type { Log } from '../log/log.ts'
import type { ChildRecords } from './child-records.ts'
import type { UpstreamLimits } from './limits.ts'
import { LineSplitter } from './line-splitter.ts'
import { LogBudget } from './log-budget.ts'
import { endGroup, signalGroup } from './process-group.ts'
import type { ConfiguredServer } from '../vocabulary/configured-server.ts'

/**
 * One child process in a group of its own, started without a shell and with a minimal environment. Its record stands
 * until nothing of the group lives; its stderr goes to the log within bounds. What its stdout means is left to others.
 */
export type ChildOptions = {
  readonly server: ConfiguredServer
  readonly link: Extract<ConfiguredServer['link'], { kind: 'stdio' }>
  readonly records: ChildRecords
  readonly mask: (text: string) => string
  readonly log: Log
  readonly clock: Clock
  readonly limits: UpstreamLimits
}

export type ChildEvents = {
  output(chunk: Buffer): void
  /** Its stdin takes more again. */
  drained(): void
  /** Once: no output follows. One clause says why. */
  ended(reason: string): void
}

export class Child {
  readonly #options: ChildOptions
  readonly #events: ChildEvents
  /** Its streams are null when the spawn itself failed. */
  readonly #process: ChildProcess
  readonly #isClosed = deferred<void>()
  #ending: Promise<void> | null = null
  #drainTimer: Timer | null = null
  #hasEnded = false

  constructor(options: ChildOptions, events: ChildEvents) {
    this.#options = options
    this.#events = events
    const { command, args, env, cwd } = options.link
    this.#process = spawn(command, [...args], {
      cwd: cwd ?? undefined,
      env: { ...minimalEnvironment(), ...env },
      detached: true,
      shell: false,
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    this.#record()
    this.#watch()
  }

  /** False: wait for `drained` before the next one. */
  write(text: string): boolean {
    return this.#process.stdin?.write(text) ?? true
  }

  /** Ends the whole group: end of stdin, a grace, SIGTERM, SIGKILL. `graceMs` 0: the child is past asking. */
  end(graceMs: number): Promise<void> {
    this.#ending ??= this.#end(graceMs)
    return this.#ending
  }

  async #end(graceMs: number): Promise<void> {
    const { clock, limits, log, records } = this.#options
    this.#process.stdin?.end()
    const group = this.#process.pid
    if (group !== undefined) {
      if (await endGroup({ group, clock, limits, graceMs })) records.remove(group)
      else log.error('upstream-process-stays', { group })
    }
    this.#release('was stopped')
    await this.#closed()
  }

  #record(): void {
    const { records, server, link, log } = this.#options
    const group = this.#process.pid
    if (group === undefined) return
    try {
      records.add({ group, server: server.name, command: link.command })
      log.info('upstream-process-started', { group })
    } catch (error) {
      // Unrecorded it could outlive us: it must not run.
      log.error('upstream-record-failed', { group, error })
      signalGroup(group, 'SIGKILL')
    }
  }

  #watch(): void {
    const { log } = this.#options
    const child = this.#process
    child.on('error', (error: NodeJS.ErrnoException) => {
      this.#isClosed.resolve()
      this.#release(`can not be started (${error.code ?? 'unknown error'})`)
    })
    child.on('exit', (code, signal) => {
      log.info('upstream-process-exited', { group: child.pid, code, signal })
      const reason = signal === null ? `exited with code ${code}` : `was ended by ${signal}`
      // Its last words may still be in the pipe, or a grandchild may hold the pipe open.
      this.#releaseSoon(reason)
      child.on('close', () => {
        this.#release(reason)
        this.#isClosed.resolve()
      })
    })
    this.#watchStreams(child)
  }

  #watchStreams({ stdin, stdout, stderr }: ChildProcess): void {
    // A broken pipe mostly announces an exit, which says more; without one the child has stopped listening to us.
    stdin?.on('error', () => this.#releaseSoon('closed its stdin'))
    stdin?.on('drain', () => this.#events.drained())
    stdout?.on('error', () => undefined)
    stdout?.on('data', (chunk: Buffer) => {
      if (!this.#hasEnded) this.#events.output(chunk)
    })
    const lines = this.#stderrLines()
    stderr?.on('error', () => undefined)
    stderr?.on('data', (chunk: Buffer) => lines.push(chunk))
    stderr?.on('end', () => lines.finish())
  }

  #stderrLines(): LineSplitter {
    const { clock, limits, log, mask } = this.#options
    const budget = new LogBudget(clock, limits.logLinesPerSecond)
    const write = (text: string, isCut: boolean): void => {
      const suppressed = budget.take()
      if (suppressed === null) return
      log.info('upstream-stderr', {
        text: mask(text),
        ...(isCut ? { isCut } : {}),
        ...(suppressed > 0 ? { suppressed } : {}),
      })
    }
    return new LineSplitter(limits.stderrLineBytesMax, {
      line: (text) => write(text, false),
      tooLong: (beginning) => write(beginning, true),
    })
  }

  #releaseSoon(reason: string): void {
    if (this.#hasEnded) return
    this.#drainTimer?.cancel()
    this.#drainTimer = this.#options.clock.after(this.#options.limits.drainMs, () => this.#release(reason))
  }

  #release(reason: string): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#drainTimer?.cancel()
    this.#process.stdin?.destroy()
    this.#process.stdout?.destroy()
    this.#process.stderr?.destroy()
    this.#events.ended(reason)
  }

  /** The kernel has said that it is gone: its exit and the end of its pipes are heard within a moment. */
  async #closed(): Promise<void> {
    const { clock, limits } = this.#options
    const timer = clock.after(limits.drainMs, () => this.#isClosed.resolve())
    await this.#isClosed.promise
    timer.cancel()
  }
}

const passedOn = new Set(['PATH', 'HOME', 'USER', 'LOGNAME', 'SHELL', 'TERM', 'LANG', 'TMPDIR', 'TZ'])

/** What a program needs to run, and nothing that this node was trusted with. */
function minimalEnvironment(): Record<string, string> {
  const picked: Record<string, string> = {}
  for (const [name, value] of Object.entries(process.env))
    if (value !== undefined && (passedOn.has(name) || name.startsWith('LC_'))) picked[name] = value
  return picked
}
