import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeSnapshot, encodeSnapshot } from '../../src/state/snapshot.ts'
import type { StateImage } from '../../src/state/snapshot.ts'
import { ClusterState } from '../../src/state/state.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import { anyLog } from './arbitrary.ts'
import { noChange } from './no-change.ts'

function bytesOf(image: StateImage): Uint8Array {
  return new Uint8Array(Buffer.concat([...encodeSnapshot(image)]))
}

function decoded(bytes: Uint8Array): StateImage {
  const image = decodeSnapshot(bytes)
  if ('malformed' in image) throw new Error(image.malformed)
  return image
}

/** What the state answers, its own versions aside. */
function seen(state: ClusterState): unknown {
  return {
    applied: state.appliedIndex,
    kv: state.kvList({ prefix: '', after: null, limit: 1000 }),
    members: state.members(),
    replicas: state.replicas(),
    tokens: state.tokens(),
    drains: state.drains(),
    sessions: state.clientSessions(),
    nextSessionEnd: state.nextSessionEnd,
    digest: state.digest(),
    bytes: Buffer.from(bytesOf(state.capture())).toString('base64'),
  }
}

function filled(keys: number): ClusterState {
  const state = new ClusterState()
  for (let index = 1; index <= keys; index += 1) {
    const command = {
      kind: 'kv-set',
      key: `key/${index}`,
      value: asJsonText(`"${'x'.repeat(100)}"`),
      expect: null,
    } as const
    state.apply({ index, time: index, command: { command, idempotencyKey: index % 2 === 0 ? `k${index}` : null } })
  }
  return state
}

describe('a snapshot of the state', () => {
  it('and the entries behind it make the state that all entries make, wherever it was taken', () => {
    fc.assert(
      fc.property(anyLog(), fc.nat(), (log, place) => {
        const takenAt = log.length === 0 ? 0 : place % (log.length + 1)
        const [whole, before, after] = [new ClusterState(), new ClusterState(), new ClusterState()]
        let time = 0
        if (takenAt === 0) after.restore(decoded(bytesOf(before.capture())))
        log.forEach(({ envelope, laterMs }, at) => {
          time += laterMs
          const entry = { index: at + 1, time, command: envelope }
          const result = whole.apply(entry)
          expect((at < takenAt ? before : after).apply(entry)).toEqual(result)
          if (at + 1 === takenAt) after.restore(decoded(bytesOf(before.capture())))
        })
        expect(seen(after)).toEqual(seen(whole))
      }),
      { numRuns: 400 },
    )
  })

  it('stays what it was taken of while the state goes on', () => {
    const state = filled(10)
    const image = state.capture()
    const bytes = bytesOf(image)
    const command = { kind: 'kv-delete', key: 'key/1', expect: null } as const
    state.apply({ index: 11, time: 11, command: { command, idempotencyKey: 'k2' } })
    state.apply({ index: 12, time: 90_000_000, command: { command, idempotencyKey: null } })
    expect(bytesOf(image)).toEqual(bytes)
    expect(decoded(bytes)).toEqual(image)
  })

  it('comes in parts, each small unless one record is not', () => {
    const state = filled(5000)
    const value = asJsonText(`"${'y'.repeat(1_000_000)}"`)
    const command = { kind: 'kv-set', key: 'large', value, expect: null } as const
    state.apply({ index: 5001, time: 5001, command: { command, idempotencyKey: null } })
    const lengths = [...encodeSnapshot(state.capture())].map((part) => part.length)
    expect(lengths.length).toBeGreaterThan(8)
    expect(lengths.filter((length) => length > 2 * 64 * 1024)).toHaveLength(1)
  })

  it('has its keys in order when it is restored, however many there are and in whatever order they came', () => {
    const state = new ClusterState()
    const keys = Array.from(
      { length: 13_001 },
      (_, n) => `${(n * 7919) % 13_001}${n % 3 === 0 ? '\u{1F600}' : '\uFF21'}`,
    )
    keys.forEach((key, at) => {
      const command = { kind: 'kv-set', key, value: asJsonText('1'), expect: null } as const
      state.apply({ index: at + 1, time: 1, command: { command, idempotencyKey: null } })
    })
    const restored = new ClusterState()
    restored.restore(decoded(bytesOf(state.capture())))
    const { entries } = restored.kvList({ prefix: '', after: null, limit: 20_000 })
    const sorted = keys.map((key) => Buffer.from(key)).sort((a, b) => Buffer.compare(a, b))
    expect(entries.map(({ key }) => key)).toEqual(sorted.map((key) => key.toString()))
  })

  it('replaces whatever the state held, and tells that catalog, members and tokens are others', () => {
    const state = filled(3)
    const version = state.catalogVersion
    state.restore(decoded(bytesOf(new ClusterState().capture())))
    expect(state.kvList({ prefix: '', after: null, limit: 10 })).toEqual({ entries: [], next: null })
    expect([state.appliedIndex, state.answerCount]).toEqual([0, 0])
    expect(state.catalogVersion).toBeGreaterThan(version)
    expect(state.takeChange()).toEqual({ ...noChange, catalog: true, members: true, tokens: true, checks: true })
  })

  it('is refused when it is cut, at whatever place, or goes on behind its end', () => {
    const bytes = bytesOf(filled(4).capture())
    for (let length = 0; length < bytes.length; length += 1) {
      expect(decodeSnapshot(bytes.subarray(0, length))).toHaveProperty('malformed')
    }
    expect(decodeSnapshot(new Uint8Array([...bytes, 0]))).toHaveProperty('malformed')
  })

  it('never makes the decoder throw, whatever its bytes', () => {
    const bytes = bytesOf(filled(4).capture())
    fc.assert(
      fc.property(fc.nat(), fc.nat({ max: 255 }), (place, byte) => {
        const changed = new Uint8Array(bytes)
        changed[place % bytes.length] = byte
        expect(typeof decodeSnapshot(changed)).toBe('object')
      }),
      { numRuns: 2000 },
    )
    fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (random) => 'malformed' in decodeSnapshot(random)))
  })

  it('of a later format is refused, and says so', () => {
    const bytes = bytesOf(new ClusterState().capture())
    expect(bytes[6]).toBe(4)
    bytes[6] = 5
    expect(decodeSnapshot(bytes)).toEqual({ malformed: 'the head is not of format 4' })
  })
})
