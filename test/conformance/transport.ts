import { afterEach, describe, expect, it } from 'vitest'
import type { Transport } from '../../src/transport/transport.ts'
import type { AdmitPeer, PeerHello } from '../../src/vocabulary/handshake.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { helloOf, Recorder } from '../transport/rig.ts'
import { waitFor } from '../wait.ts'

/** What every Transport does, whatever carries it. Lanes are `ctl` and `log`. */
export function describeTransport(name: string, world: () => TransportWorld): void {
  describe(`the ${name} transport`, () => {
    const lanes = ['ctl', 'log']
    let open: Transport[] = []
    let current: TransportWorld | null = null

    afterEach(async () => {
      await Promise.all(open.map((transport) => transport.close()))
      open = []
      current = null
    })

    async function start(
      node: string,
      options: { hello?: Partial<PeerHello>; admit?: AdmitPeer; address?: string } = {},
    ) {
      current ??= world()
      const hello = helloOf(node, options.hello)
      const transport = current.make({ hello, admit: options.admit ?? (() => null), address: options.address ?? null })
      const said = new Recorder()
      const bound = await transport.open(said)
      open.push(transport)
      return { node: hello.node, transport, said, address: `${bound.host}:${bound.port}` }
    }
    type End = Awaited<ReturnType<typeof start>>

    async function linked(a: End, b: End): Promise<void> {
      await waitFor('both to say that every lane is open', () =>
        lanes.every((lane) => opensOf(a, b.node, lane) > 0 && opensOf(b, a.node, lane) > 0),
      )
    }
    const opensOf = (end: End, node: NodeId, lane: string): number =>
      end.said.opens.filter((each) => each.node === node && each.lane === lane).length

    it('opens every lane once when both sides dial', async () => {
      const a = await start('a')
      const b = await start('b')
      a.transport.dial(b.address)
      b.transport.dial(a.address)
      await linked(a, b)
      expect(lanes.map((lane) => [a.transport.isOpen(b.node, lane), b.transport.isOpen(a.node, lane)])).toEqual([
        [true, true],
        [true, true],
      ])
      expect([a.said.closes, b.said.closes]).toEqual([[], []])
    })

    it('delivers the frames of a lane in order, each to the one peer', async () => {
      const [a, b, c] = [await start('a'), await start('b'), await start('c')]
      a.transport.dial(b.address)
      a.transport.dial(c.address)
      await linked(a, b)
      await linked(a, c)
      for (let n = 0; n < 200; n += 1) {
        expect(a.transport.send(b.node, 'ctl', 16 + (n % 5), Buffer.from(`b${n}`))).toBe(true)
      }
      expect(a.transport.send(c.node, 'log', 20, Buffer.from('c'))).toBe(true)
      await waitFor('all frames', () => b.said.frames.length === 200 && c.said.frames.length === 1)
      expect(b.said.frames.map((frame) => frame.text)).toEqual(Array.from({ length: 200 }, (_, n) => `b${n}`))
      expect(b.said.frames[7]).toEqual({ node: 'a', lane: 'ctl', type: 18, text: 'b7' })
      expect(c.said.frames).toEqual([{ node: 'a', lane: 'log', type: 20, text: 'c' }])
    })

    it('takes frames back from within `opened`', async () => {
      const a = await start('a')
      const b = await start('b')
      const opened = b.said.opened.bind(b.said)
      b.said.opened = (peer, lane, version) => {
        opened(peer, lane, version)
        b.transport.send(peer.node, lane, 16, Buffer.from(`hello on ${lane}`))
      }
      a.transport.dial(b.address)
      await waitFor('the greetings', () => a.said.frames.length === 2)
      expect(a.said.frames.map((frame) => frame.text).sort()).toEqual(['hello on ctl', 'hello on log'])
    })

    it('says false for a peer or lane that is not open', async () => {
      const a = await start('a')
      const b = await start('b')
      expect(a.transport.send(b.node, 'ctl', 16, new Uint8Array(1))).toBe(false)
      a.transport.dial(b.address)
      await linked(a, b)
      expect(a.transport.send(b.node, 'nowhere', 16, new Uint8Array(1))).toBe(false)
      expect(a.transport.isOpen(b.node, 'nowhere')).toBe(false)
    })

    it('says that the lanes are closed when a peer goes, and finds it again when it is back', async () => {
      const a = await start('a')
      const b = await start('b')
      a.transport.dial(b.address)
      await linked(a, b)
      await b.transport.close()
      await waitFor('the lanes to close', () => a.said.closes.length === 2)
      expect(a.transport.isOpen(b.node, 'ctl')).toBe(false)
      expect(b.said.closes.length).toBe(2)
      const again = await start('b', { address: b.address })
      await linked(again, a)
      await waitFor('the lanes to be open again', () => lanes.every((lane) => opensOf(a, b.node, lane) === 2))
      expect(a.transport.isOpen(b.node, 'log')).toBe(true)
    })

    it('says once that a peer is gone when nobody listens there any more, and again only after it was back', async () => {
      const [a, b, c] = [await start('a'), await start('b'), await start('c')]
      a.transport.dial(b.address)
      b.transport.dial(a.address)
      c.transport.dial(b.address)
      await linked(a, b)
      await linked(b, c)
      await b.transport.close()
      await waitFor('both to say so', () => a.said.gones.length > 0 && c.said.gones.length > 0)
      expect(a.said.closes.length).toBe(2)
      const again = await start('b', { address: b.address })
      await linked(again, a)
      await again.transport.close()
      await waitFor('it to be said again', () => a.said.gones.length > 1)
      expect([a.said.gones, b.said.gones]).toEqual([['b', 'b'], []])
    })

    it('does not say so of a peer that it does not dial', async () => {
      const [a, b] = [await start('a'), await start('b')]
      a.transport.dial(b.address)
      await linked(a, b)
      await a.transport.close()
      await waitFor('the lanes to close', () => b.said.closes.length === 2)
      expect(b.said.gones).toEqual([])
    })

    it('asks for admission anew after a disconnect', async () => {
      let welcome = true
      const admit: AdmitPeer = () => (welcome ? null : new OperatingError('denied', 'no part of it any more'))
      const [a, b] = [await start('a'), await start('b', { admit })]
      a.transport.dial(b.address)
      await linked(a, b)
      b.transport.disconnect(a.node)
      await waitFor('the lanes to be open again', () => lanes.every((lane) => opensOf(a, b.node, lane) === 2))
      welcome = false
      b.transport.disconnect(a.node)
      b.transport.disconnect('nobody' as NodeId)
      await waitFor('the refusal', () => a.said.refusals.length > 0)
      expect(a.said.refusals[0]).toMatchObject({ code: 'denied', peer: 'b', fatal: false })
      expect([a.said.gones, b.said.gones]).toEqual([[], []])
    })

    it('drops its own address silently', async () => {
      const a = await start('a')
      const b = await start('b')
      a.transport.dial(a.address)
      a.transport.dial(b.address)
      await linked(a, b)
      expect(a.transport.isOpen(a.node, 'ctl')).toBe(false)
      expect(a.said.refusals).toEqual([])
    })

    it('dials no more after undial', async () => {
      const a = await start('a')
      const b = await start('b')
      a.transport.dial(b.address)
      await linked(a, b)
      a.transport.undial(b.address)
      await b.transport.close()
      await waitFor('the lanes to close', () => a.said.closes.length === 2)
      const again = await start('b', { address: b.address })
      const c = await start('c')
      a.transport.dial(c.address)
      await linked(a, c)
      expect(again.said.opens).toEqual([])
    })

    it('tells both sides once when one does not admit the other', async () => {
      const a = await start('a')
      const error = new OperatingError('wiped-node', 'comes without its data')
      const b = await start('b', { admit: () => error })
      a.transport.dial(b.address)
      await waitFor('both refusals', () => a.said.refusals.length > 0 && b.said.refusals.length > 0)
      expect(a.said.refusals).toMatchObject([{ code: 'wiped-node', peer: 'b', fatal: true }])
      expect(b.said.refusals).toMatchObject([{ code: 'wiped-node', peer: 'a', fatal: false }])
      expect([...a.said.opens, ...b.said.opens]).toEqual([])
    })

    it('refuses a node of another cluster', async () => {
      const a = await start('a', { hello: { clusterId: 'aaaa' as ClusterId } })
      const b = await start('b', { hello: { clusterId: 'bbbb' as ClusterId } })
      a.transport.dial(b.address)
      await waitFor('both refusals', () => a.said.refusals.length > 0 && b.said.refusals.length > 0)
      expect([a.said.refusals[0]?.code, b.said.refusals[0]?.code]).toEqual(['wrong-cluster', 'wrong-cluster'])
    })

    it('refuses an address that is taken', async () => {
      const a = await start('a')
      await expect(start('b', { address: a.address })).rejects.toMatchObject({ code: 'listen-failed' })
    })
  })
}

export type TransportWorld = {
  /** A transport that listens at the address, or at a free one. */
  make(options: { hello: PeerHello; admit: AdmitPeer; address: string | null }): Transport
}
