import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { Clock } from '../std/clock.ts'
import type { Log } from '../log/log.ts'
import { parseObject } from './json-rpc.ts'
import type { UpstreamLimits } from './limits.ts'
import { endGroup, isGroupAlive, startTimeOf } from './process-group.ts'

/**
 * The children that this node has running, one small file each in `<dataDir>/children/`, so that what a killed node
 * left behind is ended at its next start. Written before a child gets its first byte, removed when its whole group is gone.
 * Holds no arguments and no environment: they may be secret.
 */
export type ChildRecord = {
  /** The pid of the leader, and so the id of the group. */
  readonly group: number
  /** Of the leader; null when it was gone before it could be read. */
  readonly startTime: string | null
  /** Of the machine, where it has one: start times and pids mean nothing after a boot. */
  readonly bootId: string | null
  readonly server: string
  readonly command: string
}

export class ChildRecords {
  readonly #folder: string

  constructor(dataDir: string) {
    this.#folder = path.join(dataDir, 'children')
  }

  /** Synchronous: nothing may happen between a child's birth and its record. */
  add(child: { readonly group: number; readonly server: string; readonly command: string }): void {
    const { group, server, command } = child
    const record: ChildRecord = { group, startTime: startTimeOf(group), bootId: bootId(), server, command }
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
    const file = this.#file(group)
    writeFileSync(`${file}.new`, JSON.stringify(record), { mode: 0o600 })
    renameSync(`${file}.new`, file)
  }

  remove(group: number): void {
    rmSync(this.#file(group), { force: true })
  }

  /** Ends what an earlier process of this node left running. A group that can not be ended keeps its record. */
  async reap(options: { readonly log: Log; readonly clock: Clock; readonly limits: UpstreamLimits }): Promise<void> {
    const { log, clock, limits } = options
    await Promise.all(
      this.#names().map(async (name) => {
        const file = path.join(this.#folder, name)
        const record = readRecord(file)
        if (record !== undefined && isLeftover(record)) {
          const { group, server, command } = record
          log.warn('upstream-leftover', { server, group, command })
          const isGone = await endGroup({ group, clock, limits, graceMs: 0 })
          if (!isGone) {
            log.error('upstream-leftover-stays', { server, group, command })
            return
          }
        }
        rmSync(file, { force: true })
      }),
    )
  }

  #names(): string[] {
    try {
      return readdirSync(this.#folder)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
      throw error
    }
  }

  #file(group: number): string {
    return path.join(this.#folder, `${group}.json`)
  }
}

/**
 * Ours are the group whose leader is the very process that was recorded, and the group that has outlived its leader: the
 * kernel gives no pid to a new process while a group of that id has members. A leader with another start time is a stranger.
 */
function isLeftover(record: ChildRecord): boolean {
  if (record.bootId !== bootId()) return false
  const startTime = startTimeOf(record.group)
  if (startTime !== null && startTime !== record.startTime) return false
  return isGroupAlive(record.group)
}

function readRecord(file: string): ChildRecord | undefined {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
  const value = parseObject(text)
  if (value === undefined) return undefined
  const { group, startTime, bootId, server, command } = value
  // Group 1 or less would signal every process there is.
  if (typeof group !== 'number' || !Number.isSafeInteger(group) || group <= 1) return undefined
  if (typeof server !== 'string' || typeof command !== 'string') return undefined
  return { group, startTime: textOrNull(startTime), bootId: textOrNull(bootId), server, command }
}

function textOrNull(value: unknown): string | null {
  return typeof value === 'string' ? value : null
}

function bootId(): string | null {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    return null
  }
}
