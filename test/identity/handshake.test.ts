import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { Handshake } from '../../src/identity/handshake.ts'
import type { HandshakeEnd, HandshakeRole, HandshakeStep } from '../../src/identity/handshake.ts'
import { ClusterSecret } from '../../src/identity/secret.ts'
import { secretBytesMin } from '../../src/vocabulary/handshake.ts'
import type { AdmitPeer, HandshakeMessage, PeerHello, WireVersions } from '../../src/vocabulary/handshake.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { decodeHandshakeMessage, encodeHandshakeMessage, encodeHello } from '../../src/wire/handshake-codec.ts'

const secret = ClusterSecret.from('a secret of the cluster, long enough to serve')
const otherSecret = ClusterSecret.from('another secret, just as long as it needs to be')

type Side = Partial<PeerHello> & {
  secret?: ClusterSecret
  versions?: WireVersions
  admit?: AdmitPeer
  isOutgrown?: () => boolean
  lane?: string
  nonce?: number
}

function handshake(role: HandshakeRole, side: Side): Handshake {
  const {
    secret: ownSecret = secret,
    versions = { min: 2, max: 2 },
    admit = () => null,
    isOutgrown = () => false,
    lane = 'ctl',
    nonce,
    ...peer
  } = side
  const node = role === 'dialer' ? 'n1' : 'n2'
  const own = encodeHello({
    versions,
    nonce: new Uint8Array(32).fill(nonce ?? (role === 'dialer' ? 1 : 2)),
    kind: 'raft',
    lane,
    peer: {
      node: node as NodeId,
      generation: 1,
      boot: `boot-${role}`,
      clusterName: 'quorate',
      clusterId: null,
      promised: null,
      addresses: { http: '127.0.0.1:1', peer: '127.0.0.1:2', raft: '127.0.0.1:3' },
      version: '0.1.0',
      ...peer,
    },
  })
  return new Handshake({ role, own, secret: ownSecret, admit, isOutgrown })
}

/** Carries messages as bytes between both until neither has more to say; each admits whom it finds proven. */
function meet(
  dialer: Handshake,
  acceptor: Handshake,
): { dialer: HandshakeStep; acceptor: HandshakeStep; sent: string[] } {
  const last: Record<HandshakeRole, HandshakeStep> = {
    dialer: dialer.start(),
    acceptor: { kind: 'waiting', send: [] },
  }
  const sent: string[] = []
  const queue: { to: HandshakeRole; message: HandshakeMessage }[] = []
  const take = (role: HandshakeRole, step: HandshakeStep): void => {
    last[role] = step
    if (step.kind === 'proven') return take(role, (role === 'dialer' ? dialer : acceptor).admit())
    for (const message of step.send) queue.push({ to: role === 'dialer' ? 'acceptor' : 'dialer', message })
  }
  take('dialer', last.dialer)
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    const { type, payload } = encodeHandshakeMessage(next.message)
    sent.push(next.message.kind)
    const message = decodeHandshakeMessage(type, payload)
    if ('malformed' in message) throw new Error(message.malformed)
    const step = (next.to === 'dialer' ? dialer : acceptor).receive(message)
    if (step.kind !== 'waiting' || step.send.length > 0) take(next.to, step)
  }
  return { ...last, sent }
}

function endOf(step: HandshakeStep): HandshakeEnd {
  if (step.kind !== 'ended') throw new Error(`not ended but ${step.kind}`)
  return step.end
}

function refusalOf(step: HandshakeStep): { code: string; by: string; fatal: boolean; message: string } {
  const end = endOf(step)
  if (end.why !== 'refused') throw new Error(`not refused but ${end.why}`)
  return { code: end.error.code, by: end.by, fatal: end.fatal, message: end.error.message }
}

describe('the handshake', () => {
  it('opens both sides once each has proven the secret', () => {
    const met = meet(handshake('dialer', {}), handshake('acceptor', {}))
    expect(met.sent).toEqual(['dialer-hello', 'acceptor-hello', 'dialer-proof', 'welcome'])
    expect(met.dialer).toMatchObject({ kind: 'open', version: 2, peer: { node: 'n2' } })
    expect(met.acceptor).toMatchObject({ kind: 'open', version: 2, peer: { node: 'n1' } })
  })

  it('refuses a peer without the secret, before anything else is looked at', () => {
    const met = meet(handshake('dialer', { secret: otherSecret, clusterName: 'other' }), handshake('acceptor', {}))
    expect(refusalOf(met.dialer)).toMatchObject({ code: 'wrong-secret', by: 'us', fatal: false })
    expect(refusalOf(met.acceptor)).toMatchObject({ code: 'wrong-secret', by: 'peer', fatal: false })
  })

  it.each([
    [{ min: 4, max: 5 }, 'this node speaks wire versions 4 to 5 and the other wire version 2', 'both 2 and 4'],
    [{ min: 3, max: 3 }, 'this node speaks wire version 3 and the other wire version 2', 'both 2 and 3'],
  ])(
    'refuses versions without overlap, %j, and tells both sides the ranges and the way out',
    (versions, ranges, way) => {
      const met = meet(handshake('dialer', { versions }), handshake('acceptor', {}))
      expect(met.sent).toEqual(['dialer-hello', 'acceptor-hello', 'refuse'])
      expect(endOf(met.dialer)).toMatchObject({ why: 'refused', by: 'us', node: 'n2', fatal: false })
      expect(endOf(met.acceptor)).toMatchObject({ why: 'refused', by: 'peer', node: 'n1', fatal: false })
      expect(refusalOf(met.dialer)).toMatchObject({ code: 'incompatible-version' })
      expect(refusalOf(met.dialer).message).toContain(ranges)
      expect(refusalOf(met.acceptor)).toMatchObject({ code: 'incompatible-version' })
      expect(refusalOf(met.acceptor).message).toContain('this node speaks wire version 2 and the other')
      for (const side of [met.dialer, met.acceptor]) expect(refusalOf(side).message).toContain(way)
    },
  )

  it('refuses versions without overlap first, and believes no id of a peer without the secret', () => {
    const met = meet(
      handshake('dialer', { versions: { min: 3, max: 4 }, secret: otherSecret }),
      handshake('acceptor', {}),
    )
    for (const side of [met.dialer, met.acceptor]) {
      expect(endOf(side)).toMatchObject({ why: 'refused', node: null, fatal: false })
      expect(refusalOf(side)).toMatchObject({ code: 'incompatible-version' })
    }
  })

  it('lets nobody in who proves the secret but speaks no common version', () => {
    const acceptor = handshake('acceptor', {})
    const dialer = handshake('dialer', { versions: { min: 3, max: 3 } })
    const [hello] = sent(dialer.start())
    const [answer] = sent(acceptor.receive(hello))
    if (answer.kind !== 'acceptor-hello' || hello.kind !== 'dialer-hello') throw new Error('no answer')
    const proof = secret.prove('quorate handshake 1, dialer, proof', [hello.hello.bytes, answer.hello.bytes])
    const step = acceptor.receive({ kind: 'dialer-proof', proof })
    expect(endOf(step)).toMatchObject({ why: 'refused', by: 'us', node: 'n1', error: { code: 'incompatible-version' } })
  })

  it('speaks the highest common version', () => {
    const met = meet(
      handshake('dialer', { versions: { min: 1, max: 4 } }),
      handshake('acceptor', { versions: { min: 1, max: 2 } }),
    )
    expect(met.acceptor).toMatchObject({ kind: 'open', version: 2 })
    expect(met.dialer).toMatchObject({ kind: 'open', version: 2 })
  })

  it('refuses another cluster name and names both', () => {
    const met = meet(handshake('dialer', { clusterName: 'alpha' }), handshake('acceptor', { clusterName: 'beta' }))
    for (const side of [met.dialer, met.acceptor]) {
      expect(refusalOf(side)).toMatchObject({ code: 'wrong-cluster', fatal: false })
      expect(refusalOf(side).message).toMatch(/"alpha".*"beta"|"beta".*"alpha"/)
    }
  })

  it('refuses another cluster id, and takes a node that has none yet', () => {
    const a = '11111111-1111-4111-8111-111111111111' as ClusterId
    const b = '22222222-2222-4222-8222-222222222222' as ClusterId
    const met = meet(handshake('dialer', { clusterId: a }), handshake('acceptor', { clusterId: b }))
    expect(refusalOf(met.dialer)).toMatchObject({ code: 'wrong-cluster' })
    expect(meet(handshake('dialer', { clusterId: a }), handshake('acceptor', {})).dialer.kind).toBe('open')
  })

  it('refuses a connection of another lane', () => {
    const met = meet(handshake('dialer', { lane: 'log' }), handshake('acceptor', { lane: 'ctl' }))
    expect(refusalOf(met.dialer)).toMatchObject({ code: 'bad-request', by: 'us' })
  })

  it('ends in silence when a node meets itself', () => {
    const self = { node: 'n1' as NodeId, boot: 'same' }
    const dialer = handshake('dialer', self)
    const met = meet(dialer, handshake('acceptor', self))
    expect(endOf(met.dialer)).toEqual({ why: 'self' })
    expect(met.sent).toEqual(['dialer-hello', 'acceptor-hello'])
  })

  it.each([
    ['the one without a cluster', { clusterId: null, generation: 1 }, { clusterId: 'c' as ClusterId, generation: 9 }],
    [
      'the one on the younger data',
      { clusterId: 'c' as ClusterId, generation: 8 },
      { clusterId: 'c' as ClusterId, generation: 7 },
    ],
    ['the greater boot id, when all else is equal', { boot: 'z' }, { boot: 'a' }],
  ])('of two live processes with one id stops %s, whoever dials', (_, yielding, staying) => {
    const id = { node: 'twin' as NodeId }
    const dials = meet(handshake('dialer', { ...id, ...yielding }), handshake('acceptor', { ...id, ...staying }))
    expect(refusalOf(dials.dialer)).toMatchObject({ code: 'duplicate-node', fatal: true })
    expect(refusalOf(dials.acceptor)).toMatchObject({ code: 'duplicate-node', fatal: false })
    const accepts = meet(handshake('dialer', { ...id, ...staying }), handshake('acceptor', { ...id, ...yielding }))
    expect(refusalOf(accepts.dialer)).toMatchObject({ code: 'duplicate-node', fatal: false })
    expect(refusalOf(accepts.acceptor)).toMatchObject({ code: 'duplicate-node', fatal: true })
  })

  it.each(['dialer', 'acceptor'] as const)('tells a wiped node that it must stop, refused by the %s', (refuser) => {
    const admit: AdmitPeer = (hello) =>
      new OperatingError('wiped-node', `${hello.node} came with an empty data directory`)
    const met = meet(
      handshake('dialer', refuser === 'dialer' ? { admit } : {}),
      handshake('acceptor', refuser === 'acceptor' ? { admit } : {}),
    )
    const refused = refuser === 'dialer' ? met.acceptor : met.dialer
    expect(refusalOf(met[refuser])).toMatchObject({ code: 'wiped-node', by: 'us', fatal: false })
    expect(refusalOf(refused)).toMatchObject({ code: 'wiped-node', by: 'peer', fatal: true })
  })

  it('does not stop a node that was taken for a wiped one because it joined the cluster while they spoke', () => {
    const admit: AdmitPeer = () => new OperatingError('wiped-node', 'it came with an empty data directory')
    const met = meet(handshake('dialer', { isOutgrown: () => true }), handshake('acceptor', { admit }))
    expect(endOf(met.dialer)).toEqual({ why: 'outgrown' })
  })

  it.each(['dialer', 'acceptor'] as const)(
    'alarms nobody when the cluster of the %s forms while they speak',
    (side) => {
      const admit: AdmitPeer = () => new OperatingError('wiped-node', 'it came with an empty data directory')
      const formed = { admit, isOutgrown: () => true }
      const met = meet(
        handshake('dialer', side === 'dialer' ? formed : {}),
        handshake('acceptor', side === 'acceptor' ? formed : {}),
      )
      expect(endOf(met[side])).toEqual({ why: 'outgrown' })
      expect(endOf(met[side === 'dialer' ? 'acceptor' : 'dialer'])).toMatchObject({ why: 'already-connected' })
    },
  )

  it('asks admit about nobody who has not proven the secret', () => {
    const asked: string[] = []
    const admit: AdmitPeer = (hello) => (asked.push(hello.node), null)
    meet(handshake('dialer', { secret: otherSecret, admit }), handshake('acceptor', { admit }))
    expect(asked).toEqual([])
    meet(handshake('dialer', { admit }), handshake('acceptor', { admit }))
    expect(asked.sort()).toEqual(['n1', 'n2'])
  })

  it('does not let a refusal without proof stop this node', () => {
    for (const proof of [new Uint8Array(0), new Uint8Array(32)]) {
      const dialer = handshake('dialer', {})
      dialer.start()
      const step = dialer.receive({ kind: 'refuse', code: 'wiped-node', message: 'go\u001b[2J away', proof })
      expect(refusalOf(step)).toMatchObject({ code: 'wiped-node', by: 'peer', fatal: false })
      expect(refusalOf(step).message).toBe('refused by the other side: go [2J away')
    }
  })

  it('does not take a refusal that was proven in another connection', () => {
    const admit: AdmitPeer = () => new OperatingError('wiped-node', 'wiped')
    const first = handshake('dialer', {})
    const acceptor = handshake('acceptor', { admit })
    expect(first.receive(sent(acceptor.receive(sent(first.start())[0]))[0]).kind).toBe('proven')
    expect(acceptor.receive(sent(first.admit())[0]).kind).toBe('proven')
    const [refusal] = sent(acceptor.admit())

    const second = handshake('dialer', { nonce: 9 })
    expect(second.receive(sent(handshake('acceptor', {}).receive(sent(second.start())[0]))[0]).kind).toBe('proven')
    expect(refusalOf(second.receive(refusal))).toMatchObject({ code: 'wiped-node', fatal: false })
    expect(refusalOf(first.receive(refusal))).toMatchObject({ code: 'wiped-node', fatal: true })
  })

  it('does not take its own proof reflected', () => {
    const acceptor = handshake('acceptor', {})
    const [answer] = sent(acceptor.receive(sent(handshake('dialer', {}).start())[0]))
    if (answer.kind !== 'acceptor-hello') throw new Error('no answer')
    const step = acceptor.receive({ kind: 'dialer-proof', proof: answer.proof })
    expect(refusalOf(step)).toMatchObject({ code: 'wrong-secret' })
  })

  it('does not take a proof over a hello that was changed on the way', () => {
    const dialer = handshake('dialer', {})
    const acceptor = handshake('acceptor', {})
    dialer.start()
    const [forged] = sent(handshake('dialer', { generation: 2 }).start())
    const [answer] = sent(acceptor.receive(forged))
    expect(refusalOf(dialer.receive(answer))).toMatchObject({ code: 'wrong-secret' })
  })

  it('does not take a message out of turn', () => {
    const acceptor = handshake('acceptor', {})
    expect(endOf(acceptor.receive({ kind: 'welcome' }))).toEqual({ why: 'malformed', detail: 'welcome out of turn' })
    const dialer = handshake('dialer', {})
    dialer.start()
    expect(endOf(dialer.receive({ kind: 'welcome' }))).toMatchObject({ why: 'malformed' })
  })

  it('cuts a refusal to what the codec carries, and proves what it sends', () => {
    const admit: AdmitPeer = () => new OperatingError('wiped-node', 'x'.repeat(5000))
    const met = meet(handshake('dialer', {}), handshake('acceptor', { admit }))
    expect(refusalOf(met.dialer)).toMatchObject({ code: 'wiped-node', fatal: true })
    expect(refusalOf(met.dialer).message.length).toBeLessThan(600)
  })

  it('tells the peer without alarm that another connection is kept', () => {
    const dialer = handshake('dialer', {})
    const acceptor = handshake('acceptor', {})
    const [hello] = sent(dialer.start())
    const [answer] = sent(acceptor.receive(hello))
    expect(dialer.receive(answer).kind).toBe('proven')
    const [refusal] = sent(dialer.giveWay())
    expect(endOf(acceptor.receive(refusal))).toMatchObject({ why: 'already-connected', peer: { node: 'n1' } })
  })
})

describe("the cluster's secret", () => {
  it('is at least 32 bytes, and the refusal does not contain it', () => {
    const short = 'short but precious'
    expect(() => ClusterSecret.from(short)).toThrowError(/18 bytes, at least 32/)
    expect(() => ClusterSecret.from(short)).not.toThrowError(short)
    expect(() => ClusterSecret.from('é'.repeat(secretBytesMin / 2))).not.toThrow()
  })

  it('shows nothing of itself when it is printed', () => {
    const text = 'a secret of the cluster, long enough to serve'
    expect(`${JSON.stringify(secret)} ${inspect(secret, { showHidden: true })}`).not.toContain(text)
  })
})

function sent(step: HandshakeStep): [HandshakeMessage, ...HandshakeMessage[]] {
  if (step.kind === 'proven') throw new Error('nothing sent')
  const [first, ...rest] = step.send
  if (first === undefined) throw new Error('nothing sent')
  return [first, ...rest]
}
