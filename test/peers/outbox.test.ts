import { describe, expect, it } from 'vitest'
import { Outbox } from '../../src/peers/outbox.ts'

/** An outbox whose way is open or not as the test says, and whose time passes by hand. */
function rig() {
  const sent: number[] = []
  const due: (() => void)[] = []
  const state = { open: false, cancelled: 0 }
  const outbox = new Outbox({
    send: (type) => state.open && sent.push(type) > 0,
    clock: {
      now: () => 0,
      monotonic: () => 0,
      after: (_, fire) => {
        due.push(fire)
        return { cancel: () => void (state.cancelled += 1) }
      },
    },
  })
  return { outbox, sent, due, state, pass: () => due.splice(0).forEach((fire) => fire()) }
}

describe('the outbox', () => {
  it('keeps the order, also when the way opens while something waits', () => {
    const { outbox, sent, state, pass } = rig()
    outbox.push(1, new Uint8Array(10), 100)
    outbox.push(2, new Uint8Array(10), 100)
    state.open = true
    outbox.push(3, new Uint8Array(10), 100)
    expect(sent).toEqual([])
    pass()
    outbox.push(4, new Uint8Array(10), 100)
    expect(sent).toEqual([1, 2, 3, 4])
  })

  it('refuses what passes the limit of its kind, and has room again when it is sent', () => {
    const { outbox, sent, state, pass } = rig()
    expect(outbox.push(1, new Uint8Array(60), 100)).toBe(true)
    expect(outbox.push(2, new Uint8Array(60), 100)).toBe(false)
    expect(outbox.push(3, new Uint8Array(60), 200)).toBe(true)
    state.open = true
    pass()
    state.open = false
    expect(outbox.push(4, new Uint8Array(60), 100)).toBe(true)
    expect(sent).toEqual([1, 3])
  })

  it('forgets all when it is cleared, and leaves no timer', () => {
    const { outbox, sent, state, pass, due } = rig()
    outbox.push(1, new Uint8Array(10), 100)
    outbox.clear()
    expect(state.cancelled).toBe(1)
    state.open = true
    due.length = 0
    outbox.push(2, new Uint8Array(10), 100)
    pass()
    expect(sent).toEqual([2])
  })
})
