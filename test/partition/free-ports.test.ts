import { createServer } from 'node:net'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type * as freePortsModule from '../../scripts/lib/free-ports.ts'

afterEach(() => vi.restoreAllMocks())

/** As a process of its own has it: what it has given out before is not remembered. */
async function another(): Promise<typeof freePortsModule> {
  vi.resetModules()
  return import('../../scripts/lib/free-ports.ts')
}

describe('a free port', () => {
  it.runIf(process.platform === 'linux')('is given to one only, though nobody listens on it yet', async () => {
    const [one, other] = [await another(), await another()]
    const [port = 0] = await one.freePorts(1)
    const random = vi.spyOn(Math, 'random').mockReturnValueOnce((port - 20_000 + 0.5) / 12_000)
    const [next = 0] = await other.freePorts(1)
    expect(random.mock.calls.length).toBeGreaterThan(1)
    expect(next).not.toBe(port)
  })

  it('can be listened on', async () => {
    const [port = 0] = await (await another()).freePorts(1)
    const server = createServer()
    const listening = new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ port, host: '127.0.0.1' }, resolve)
    })
    await expect(listening).resolves.toBeUndefined()
    await new Promise((resolve) => server.close(resolve))
  })
})
