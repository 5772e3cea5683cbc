import { describe, expect, it } from 'vitest'
import { LightSignal } from '../../src/std/signal.ts'
import type { Signal } from '../../src/std/signal.ts'

describe.each<[string, () => { signal: Signal; abort: (reason: unknown) => void }]>([
  [
    'a light signal',
    () => {
      const signal = new LightSignal()
      return { signal, abort: (reason) => signal.abort(reason) }
    },
  ],
  [
    'the signal of the platform',
    () => {
      const controller = new AbortController()
      return { signal: controller.signal, abort: (reason) => controller.abort(reason) }
    },
  ],
])('%s', (_, make) => {
  it('tells each of its listeners once, in order, and keeps the first reason', () => {
    const { signal, abort } = make()
    const told: string[] = []
    signal.addEventListener('abort', () => told.push(`one ${String(signal.aborted)} ${String(signal.reason)}`))
    signal.addEventListener('abort', () => told.push('two'), { once: true })
    expect(signal.aborted).toBe(false)
    abort('first')
    abort('second')
    expect(told).toEqual(['one true first', 'two'])
    expect(signal.reason).toBe('first')
  })

  it('tells nobody who has been taken away, be it by another listener, nor who comes later', () => {
    const { signal, abort } = make()
    const told: string[] = []
    const [first, third] = [(): unknown => told.push('first'), (): unknown => told.push('third')]
    signal.removeEventListener('abort', first)
    signal.addEventListener('abort', first)
    signal.removeEventListener('abort', first)
    signal.addEventListener('abort', () => {
      told.push('second')
      signal.removeEventListener('abort', third)
      signal.addEventListener('abort', () => told.push('late'))
    })
    signal.addEventListener('abort', third)
    abort(null)
    signal.addEventListener('abort', () => told.push('later'))
    expect(told).toEqual(['second'])
  })
})
